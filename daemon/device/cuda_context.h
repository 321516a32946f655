#ifndef WEIGHTD_DAEMON_DEVICE_CUDA_CONTEXT_H_
#define WEIGHTD_DAEMON_DEVICE_CUDA_CONTEXT_H_

#include "common/cuda_driver.h"

#if WEIGHTD_HAVE_CUDA

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/device/error_counts.h"
#include "daemon/device/warning_list.h"

namespace weightd {

// One GPU's primary context, retained while the object lives, with the one non-blocking stream that
// all copies to the GPU go through. Thread-safe. Outlives allocations and queues.
class CudaContext {
 public:
  static absl::StatusOr<std::unique_ptr<CudaContext>> Retain(const CudaDriver& driver,
                                                             const CudaDeviceInfo& device);
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;
  // What cannot be given back stays until the process ends: nobody is left to be told.
  ~CudaContext();

  const CudaDriver& driver() const { return driver_; }
  const std::string& uuid() const { return uuid_; }
  CUstream stream() const { return stream_; }
  // Makes the context current on this thread; around every driver call that needs one.
  absl::StatusOr<ScopedCudaContext> Enter() const {
    auto current = ScopedCudaContext::Push(driver_, context_);
    if (!current.ok()) (void)errors_.Count(ErrorCounts::Operation::kContext, current.status());
    return current;
  }

  // Free and total memory of the GPU, now.
  struct Memory {
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
  };
  absl::StatusOr<Memory> QueryMemory() const;

  // For destructors, which cannot return what went wrong.
  WarningList& warnings() { return warnings_; }
  ErrorCounts& errors() const { return errors_; }

 private:
  CudaContext(const CudaDriver& driver, const CudaDeviceInfo& device)
      : driver_(driver), device_(device.device), uuid_(device.uuid) {}

  const CudaDriver& driver_;  // these are fixed after Retain()
  const CUdevice device_;
  const std::string uuid_;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  WarningList warnings_;  // synchronizes itself, as the next does
  mutable ErrorCounts errors_{{ErrorCounts::Operation::kAllocate, ErrorCounts::Operation::kContext,
                               ErrorCounts::Operation::kCopy, ErrorCounts::Operation::kExport,
                               ErrorCounts::Operation::kFree, ErrorCounts::Operation::kPin,
                               ErrorCounts::Operation::kRead}};
};

}  // namespace weightd

#endif  // WEIGHTD_HAVE_CUDA

#endif  // WEIGHTD_DAEMON_DEVICE_CUDA_CONTEXT_H_
