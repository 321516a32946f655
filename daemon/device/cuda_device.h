#ifndef WEIGHTD_DAEMON_DEVICE_CUDA_DEVICE_H_
#define WEIGHTD_DAEMON_DEVICE_CUDA_DEVICE_H_

#include "daemon/device/cuda_context.h"
#include "daemon/device/device.h"

#if WEIGHTD_HAVE_CUDA

#include <memory>
#include <string>
#include <vector>

#include "daemon/device/pinned_ranges.h"

namespace weightd {

// One GPU. Thread-safe.
class CudaDevice final : public Device {
 public:
  // `pinned` is shared by the GPUs of the process. An error says why the GPU cannot be used.
  static absl::StatusOr<std::unique_ptr<CudaDevice>> Open(const CudaDriver& driver,
                                                          const CudaDeviceInfo& device,
                                                          std::shared_ptr<PinnedRanges> pinned);

  const DeviceInfo& info() const override { return info_; }
  absl::StatusOr<std::unique_ptr<Allocation>> Allocate(uint64_t bytes) override;
  uint64_t allocation_granularity() const override;
  absl::Status RegisterStaging(absl::Span<std::byte> memory) override;
  void UnregisterStaging(absl::Span<std::byte> memory) override;
  absl::Status RegisterSealed(absl::Span<const std::byte> memory) override;
  void UnregisterSealed(absl::Span<const std::byte> memory) override;
  absl::StatusOr<std::unique_ptr<CopyQueue>> CreateCopyQueue() override;
  Warnings warnings() const override { return context_->warnings().Get(); }
  std::vector<DeviceErrors> errors() const override { return context_->errors().Get(); }

 private:
  CudaDevice(DeviceInfo info, std::unique_ptr<CudaContext> context,
             std::shared_ptr<PinnedRanges> pinned, bool pins_read_only);

  const DeviceInfo info_;
  const std::unique_ptr<CudaContext> context_;  // synchronizes itself, as the next does
  const std::shared_ptr<PinnedRanges> pinned_;
  const bool pins_read_only_;
};

}  // namespace weightd

#endif  // WEIGHTD_HAVE_CUDA

#endif  // WEIGHTD_DAEMON_DEVICE_CUDA_DEVICE_H_
