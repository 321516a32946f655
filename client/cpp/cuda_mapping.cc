#include "client/cpp/cuda_mapping.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/cuda_driver.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd::client {
namespace {

absl::Status GpuNotFound(const std::string& gpu_uuid, absl::string_view why) {
  return ErrorWithReason(absl::StatusCode::kNotFound, Reason::kDeviceNotFound,
                         absl::StrCat("open memory on ", gpu_uuid, ": ", why));
}

#if WEIGHTD_HAVE_CUDA

// Owns a reference to a GPU's primary context.
class PrimaryContext {
 public:
  static absl::StatusOr<PrimaryContext> Retain(const CudaDriver& driver, CUdevice device) {
    CUcontext context = nullptr;
    RETURN_IF_ERROR(driver.ToStatus(driver.cuDevicePrimaryCtxRetain(&context, device),
                                    "retain the GPU's primary context"));
    return PrimaryContext(driver, device, context);
  }
  PrimaryContext(PrimaryContext&& other) noexcept
      : driver_(std::exchange(other.driver_, nullptr)),
        device_(other.device_),
        context_(other.context_) {}
  PrimaryContext& operator=(PrimaryContext&&) = delete;
  ~PrimaryContext() {
    // Fails only when the driver is shutting down, and then nothing is held any more.
    if (driver_ != nullptr) (void)driver_->cuDevicePrimaryCtxRelease(device_);
  }
  CUcontext get() const { return context_; }

 private:
  PrimaryContext(const CudaDriver& driver, CUdevice device, CUcontext context)
      : driver_(&driver), device_(device), context_(context) {}

  const CudaDriver* driver_;
  CUdevice device_;
  CUcontext context_;
};

class OpenCudaMapping final : public CudaMapping {
 public:
  OpenCudaMapping(const CudaDriver& driver, PrimaryContext context)
      : driver_(driver), context_(std::move(context)) {}
  OpenCudaMapping(const OpenCudaMapping&) = delete;
  OpenCudaMapping& operator=(const OpenCudaMapping&) = delete;

  ~OpenCudaMapping() override {
    const auto current = ScopedCudaContext::Push(driver_, context_.get());
    if (!current.ok()) return;  // the context is gone, and its mappings with it
    for (const CUdeviceptr address : addresses_) (void)driver_.cuIpcCloseMemHandle(address);
  }

  absl::Status OpenHandle(const std::string& ipc_handle) {
    CUipcMemHandle handle{};
    if (ipc_handle.size() != sizeof(handle)) {
      return absl::InternalError(absl::StrCat("grant from weightd: CUDA IPC handle of ",
                                              ipc_handle.size(), " bytes, expected ",
                                              sizeof(handle)));
    }
    std::memcpy(&handle, ipc_handle.data(), sizeof(handle));
    ASSIGN_OR_RETURN(const auto current, ScopedCudaContext::Push(driver_, context_.get()));
    CUdeviceptr address = 0;
    const CUresult result =
        driver_.cuIpcOpenMemHandle(&address, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    if (result != CUDA_SUCCESS) {
      const absl::Status status = driver_.ToStatus(result, "open CUDA IPC handle");
      return ErrorWithReason(
          absl::StatusCode::kFailedPrecondition, Reason::kHandleUnusable,
          absl::StrCat(status.message(),
                       "; a process opens only memory of weightd in the same PID "
                       "namespace, and not in weightd itself"));
    }
    addresses_.push_back(address);
    bases_.push_back(reinterpret_cast<const std::byte*>(address));
    return absl::OkStatus();
  }

  absl::Span<const std::byte* const> bases() const override { return bases_; }

  absl::Status CopyToHost(const void* from, void* to, uint64_t bytes) const override {
    ASSIGN_OR_RETURN(const auto current, ScopedCudaContext::Push(driver_, context_.get()));
    return driver_.ToStatus(driver_.cuMemcpyDtoH(to, reinterpret_cast<CUdeviceptr>(from), bytes),
                            absl::StrCat("copy ", bytes, " bytes from the GPU"));
  }

 private:
  const CudaDriver& driver_;
  const PrimaryContext context_;  // outlives the addresses, which the destructor closes
  std::vector<CUdeviceptr> addresses_;
  std::vector<const std::byte*> bases_;
};

absl::StatusOr<std::unique_ptr<CudaMapping>> OpenOnGpu(const std::string& gpu_uuid,
                                                       absl::Span<const std::string> ipc_handles) {
  const absl::StatusOr<const CudaDriver*> driver = CudaDriver::Load();
  if (!driver.ok()) return GpuNotFound(gpu_uuid, driver.status().message());
  ASSIGN_OR_RETURN(const std::vector<CudaDeviceInfo> gpus, ListCudaDevices(**driver));
  for (const CudaDeviceInfo& gpu : gpus) {
    if (gpu.uuid != gpu_uuid) continue;
    ASSIGN_OR_RETURN(PrimaryContext context, PrimaryContext::Retain(**driver, gpu.device));
    auto mapping = std::make_unique<OpenCudaMapping>(**driver, std::move(context));
    for (const std::string& handle : ipc_handles) RETURN_IF_ERROR(mapping->OpenHandle(handle));
    return mapping;
  }
  return GpuNotFound(gpu_uuid, absl::StrCat("this process sees ", gpus.size(),
                                            " GPUs and not that one; check CUDA_VISIBLE_DEVICES "
                                            "or ask for a device that it sees"));
}

#else

absl::StatusOr<std::unique_ptr<CudaMapping>> OpenOnGpu(const std::string& gpu_uuid,
                                                       absl::Span<const std::string>) {
  return GpuNotFound(gpu_uuid, CudaDriver::Load().status().message());
}

#endif  // WEIGHTD_HAVE_CUDA

}  // namespace

absl::StatusOr<std::unique_ptr<CudaMapping>> CudaMapping::Open(
    const std::string& gpu_uuid, absl::Span<const std::string> ipc_handles) {
  return OpenOnGpu(gpu_uuid, ipc_handles);
}

}  // namespace weightd::client
