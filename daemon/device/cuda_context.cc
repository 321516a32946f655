#include "daemon/device/cuda_context.h"

#if WEIGHTD_HAVE_CUDA

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace weightd {

absl::StatusOr<std::unique_ptr<CudaContext>> CudaContext::Retain(const CudaDriver& driver,
                                                                 const CudaDeviceInfo& device) {
  std::unique_ptr<CudaContext> context(new CudaContext(driver, device));
  RETURN_IF_ERROR(
      driver.ToStatus(driver.cuDevicePrimaryCtxRetain(&context->context_, device.device),
                      absl::StrCat("retain primary context of ", device.uuid)));
  ASSIGN_OR_RETURN(const ScopedCudaContext current, context->Enter());
  RETURN_IF_ERROR(driver.ToStatus(driver.cuStreamCreate(&context->stream_, CU_STREAM_NON_BLOCKING),
                                  absl::StrCat("create stream on ", device.uuid)));
  return context;
}

CudaContext::~CudaContext() {
  if (context_ == nullptr) return;
  if (stream_ != nullptr) {
    if (const auto current = Enter(); current.ok()) (void)driver_.cuStreamDestroy(stream_);
  }
  (void)driver_.cuDevicePrimaryCtxRelease(device_);
}

absl::StatusOr<CudaContext::Memory> CudaContext::QueryMemory() const {
  ASSIGN_OR_RETURN(const ScopedCudaContext current, Enter());
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  RETURN_IF_ERROR(driver_.ToStatus(driver_.cuMemGetInfo(&free_bytes, &total_bytes),
                                   absl::StrCat("query memory of ", uuid_)));
  return Memory{free_bytes, total_bytes};
}

}  // namespace weightd

#endif  // WEIGHTD_HAVE_CUDA
