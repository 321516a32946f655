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
  const CudaDriver& driver() const { return *driver_; }

 private:
  PrimaryContext(const CudaDriver& driver, CUdevice device, CUcontext context)
      : driver_(&driver), device_(device), context_(context) {}

  const CudaDriver* driver_;
  CUdevice device_;
  CUcontext context_;
};

class OpenCudaMapping final : public CudaMapping {
 public:
  explicit OpenCudaMapping(PrimaryContext context) : context_(std::move(context)) {}
  OpenCudaMapping(const OpenCudaMapping&) = delete;
  OpenCudaMapping& operator=(const OpenCudaMapping&) = delete;

  ~OpenCudaMapping() override {
    const auto current = ScopedCudaContext::Push(context_.driver(), context_.get());
    if (!current.ok()) return;  // the context is gone, and its mappings with it
    for (const CUdeviceptr address : addresses_)
      (void)context_.driver().cuIpcCloseMemHandle(address);
  }

  absl::Status OpenHandle(const std::string& ipc_handle) {
    CUipcMemHandle handle{};
    if (ipc_handle.size() != sizeof(handle)) {
      return absl::InternalError(absl::StrCat("grant from weightd: CUDA IPC handle of ",
                                              ipc_handle.size(), " bytes, expected ",
                                              sizeof(handle)));
    }
    std::memcpy(&handle, ipc_handle.data(), sizeof(handle));
    ASSIGN_OR_RETURN(const auto current,
                     ScopedCudaContext::Push(context_.driver(), context_.get()));
    CUdeviceptr address = 0;
    const CUresult result =
        context_.driver().cuIpcOpenMemHandle(&address, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    if (result != CUDA_SUCCESS) {
      const absl::Status status = context_.driver().ToStatus(result, "open CUDA IPC handle");
      return ErrorWithReason(
          absl::StatusCode::kFailedPrecondition, Reason::kHandleUnusable,
          absl::StrCat(status.message(),
                       "; a process opens only memory of weightd in the same PID "
                       "namespace, and not in weightd itself"));
    }
    addresses_.push_back(address);
    // The driver's addresses are numbers. NOLINTNEXTLINE(performance-no-int-to-ptr)
    bases_.push_back(reinterpret_cast<const std::byte*>(address));
    return absl::OkStatus();
  }

  absl::Span<const std::byte* const> bases() const override { return bases_; }

 private:
  const PrimaryContext context_;  // outlives the addresses, which the destructor closes
  std::vector<CUdeviceptr> addresses_;
  std::vector<const std::byte*> bases_;
};

absl::StatusOr<PrimaryContext> RetainContextOf(const std::string& gpu_uuid) {
  const absl::StatusOr<const CudaDriver*> driver = CudaDriver::Load();
  if (!driver.ok()) return GpuNotFound(gpu_uuid, driver.status().message());
  ASSIGN_OR_RETURN(const std::vector<CudaDeviceInfo> gpus, ListCudaDevices(**driver));
  for (const CudaDeviceInfo& gpu : gpus) {
    if (gpu.uuid == gpu_uuid) return PrimaryContext::Retain(**driver, gpu.device);
  }
  return GpuNotFound(gpu_uuid, absl::StrCat("this process sees ", gpus.size(),
                                            " GPUs and not that one; check CUDA_VISIBLE_DEVICES "
                                            "or ask for a device that it sees"));
}

#endif  // WEIGHTD_HAVE_CUDA

}  // namespace

#if WEIGHTD_HAVE_CUDA

absl::StatusOr<std::unique_ptr<CudaMapping>> CudaMapping::Open(
    const std::string& gpu_uuid, absl::Span<const std::string> ipc_handles) {
  ASSIGN_OR_RETURN(PrimaryContext context, RetainContextOf(gpu_uuid));
  auto mapping = std::make_unique<OpenCudaMapping>(std::move(context));
  for (const std::string& handle : ipc_handles) RETURN_IF_ERROR(mapping->OpenHandle(handle));
  return mapping;
}

absl::Status CopyFromGpu(const std::string& gpu_uuid, const void* from, void* to, uint64_t bytes) {
  ASSIGN_OR_RETURN(const PrimaryContext context, RetainContextOf(gpu_uuid));
  const CudaDriver& driver = context.driver();
  ASSIGN_OR_RETURN(const auto current, ScopedCudaContext::Push(driver, context.get()));
  return driver.ToStatus(driver.cuMemcpyDtoH(to, reinterpret_cast<CUdeviceptr>(from), bytes),
                         absl::StrCat("copy ", bytes, " bytes from ", gpu_uuid));
}

#else

absl::StatusOr<std::unique_ptr<CudaMapping>> CudaMapping::Open(const std::string& gpu_uuid,
                                                               absl::Span<const std::string>) {
  return GpuNotFound(gpu_uuid, CudaDriver::Load().status().message());
}

absl::Status CopyFromGpu(const std::string& gpu_uuid, const void*, void*, uint64_t) {
  return GpuNotFound(gpu_uuid, CudaDriver::Load().status().message());
}

#endif  // WEIGHTD_HAVE_CUDA

}  // namespace weightd::client
