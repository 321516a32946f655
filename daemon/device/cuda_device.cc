#include "daemon/device/cuda_device.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/status_macros.h"
#include "daemon/device/cuda_allocation.h"
#include "daemon/device/cuda_copy_queue.h"

namespace weightd {

#if WEIGHTD_HAVE_CUDA

namespace {

// CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID of CUDA 12.2: the node closest to the GPU, -1 without nodes.
constexpr auto kHostNumaId = static_cast<CUdevice_attribute>(134);

// A driver that does not know the attribute says INVALID_VALUE; then `unknown` holds.
absl::StatusOr<int> Attribute(const CudaDriver& driver, const CudaDeviceInfo& device,
                              CUdevice_attribute attribute, int unknown) {
  int value = 0;
  const CUresult result = driver.cuDeviceGetAttribute(&value, attribute, device.device);
  if (result == CUDA_ERROR_INVALID_VALUE) return unknown;
  RETURN_IF_ERROR(driver.ToStatus(result, "query attribute"));
  return value;
}

// OK when clients can map what this GPU exports.
absl::Status CheckUsable(const CudaDriver& driver, const CudaDeviceInfo& device) {
  // The driver names a MIG instance "NVIDIA A100 ... MIG 1g.10gb".
  if (absl::StrContains(device.name, " MIG ")) {
    return absl::FailedPreconditionError(
        "it is a MIG instance, whose memory weightd does not share; turn MIG off (nvidia-smi -mig "
        "0)");
  }
  ASSIGN_OR_RETURN(const int mode, Attribute(driver, device, CU_DEVICE_ATTRIBUTE_COMPUTE_MODE,
                                             CU_COMPUTEMODE_DEFAULT));
  if (mode == CU_COMPUTEMODE_PROHIBITED) {
    return absl::FailedPreconditionError(
        "its compute mode is prohibited; allow it (nvidia-smi -c DEFAULT)");
  }
  ASSIGN_OR_RETURN(const int addressing,
                   Attribute(driver, device, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1));
  if (addressing == 0) return absl::FailedPreconditionError("it has no unified addressing");
  ASSIGN_OR_RETURN(const int ipc,
                   Attribute(driver, device, CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED, 1));
  if (ipc == 0) return absl::FailedPreconditionError("it does not support CUDA IPC");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaDevice>> CudaDevice::Open(const CudaDriver& driver,
                                                             const CudaDeviceInfo& device,
                                                             std::shared_ptr<PinnedRanges> pinned) {
  RETURN_IF_ERROR(CheckUsable(driver, device));
  ASSIGN_OR_RETURN(auto context, CudaContext::Retain(driver, device));
  ASSIGN_OR_RETURN(const CudaContext::Memory memory, context->QueryMemory());
  DeviceInfo info;
  info.id = device.uuid;
  info.kind = DeviceKind::kCuda;
  info.name = device.name;
  info.total_bytes = device.total_bytes;
  info.free_bytes = memory.free_bytes;
  ASSIGN_OR_RETURN(info.numa_node, Attribute(driver, device, kHostNumaId, /*unknown=*/-1));
  ASSIGN_OR_RETURN(
      const int read_only,
      Attribute(driver, device, CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, 0));
  return std::unique_ptr<CudaDevice>(
      new CudaDevice(std::move(info), std::move(context), std::move(pinned), read_only != 0));
}

CudaDevice::CudaDevice(DeviceInfo info, std::unique_ptr<CudaContext> context,
                       std::shared_ptr<PinnedRanges> pinned, bool pins_read_only)
    : info_(std::move(info)),
      context_(std::move(context)),
      pinned_(std::move(pinned)),
      pins_read_only_(pins_read_only) {}

uint64_t CudaDevice::allocation_granularity() const { return CudaAllocation::kGranularityBytes; }

absl::StatusOr<std::unique_ptr<Allocation>> CudaDevice::Allocate(uint64_t bytes) {
  if (bytes == 0) return absl::InvalidArgumentError("allocate 0 bytes of GPU memory");
  if (bytes > info_.total_bytes) {  // rounding it up might wrap
    return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kDeviceFailed,
                           absl::StrCat("allocate ", FormatBytes(bytes), " on ", info_.id,
                                        ": it has ", FormatBytes(info_.total_bytes)));
  }
  return CudaAllocation::Create(*context_, AlignUp(bytes, CudaAllocation::kGranularityBytes));
}

absl::Status CudaDevice::RegisterStaging(absl::Span<std::byte> memory) {
  return context_->errors().Count(
      ErrorCounts::Operation::kPin,
      pinned_->Add(*context_, memory, PinnedRanges::Access::kReadWrite));
}

void CudaDevice::UnregisterStaging(absl::Span<std::byte> memory) {
  pinned_->Remove(*context_, memory);
}

absl::Status CudaDevice::RegisterSealed(absl::Span<const std::byte> memory) {
  if (!pins_read_only_) {
    return ErrorWithReason(
        absl::StatusCode::kUnimplemented, Reason::kDeviceFailed,
        absl::StrCat("pin sealed memory for ", info_.id, ": its driver pins no read-only memory"));
  }
  return context_->errors().Count(ErrorCounts::Operation::kPin,
                                  pinned_->Add(*context_, memory, PinnedRanges::Access::kReadOnly));
}

void CudaDevice::UnregisterSealed(absl::Span<const std::byte> memory) {
  pinned_->Remove(*context_, memory);
}

absl::StatusOr<std::unique_ptr<CopyQueue>> CudaDevice::CreateCopyQueue() {
  return std::make_unique<CudaCopyQueue>(*context_);
}

absl::StatusOr<CudaDevices> OpenCudaDevices() {
  ASSIGN_OR_RETURN(const CudaDriver* driver, CudaDriver::Load());
  ASSIGN_OR_RETURN(const std::vector<CudaDeviceInfo> found, ListCudaDevices(*driver));
  CudaDevices result;
  result.driver_version = driver->version;
  const auto pinned = std::make_shared<PinnedRanges>();
  for (const CudaDeviceInfo& device : found) {
    auto opened = CudaDevice::Open(*driver, device, pinned);
    if (opened.ok()) {
      result.devices.push_back(*std::move(opened));
    } else {
      result.skipped.push_back(
          {.reason = WarningReason::kGpuNotUsed,
           .text = absl::StrCat("GPU ", device.ordinal, " (", device.name, ", ", device.uuid,
                                ") is not used: ", opened.status().message())});
    }
  }
  return result;
}

#else

absl::StatusOr<CudaDevices> OpenCudaDevices() {
  RETURN_IF_ERROR(CudaDriver::Load().status());
  return absl::InternalError("open GPUs: a driver was loaded by a binary that cannot use one");
}

#endif  // WEIGHTD_HAVE_CUDA

}  // namespace weightd
