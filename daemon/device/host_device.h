#ifndef WEIGHTD_DAEMON_DEVICE_HOST_DEVICE_H_
#define WEIGHTD_DAEMON_DEVICE_HOST_DEVICE_H_

#include <memory>
#include <string>
#include <vector>

#include "daemon/device/device.h"
#include "daemon/device/error_counts.h"
#include "daemon/device/host_memory.h"
#include "daemon/device/page_maker.h"
#include "daemon/device/warning_list.h"

namespace weightd {

// Host memory: one memfd per allocation. Thread-safe. Pages are made ahead of what fills them, so
// that no write meets a page fault or SIGBUS: see Allocation::ready_bytes().
class HostDevice final : public Device {
 public:
  explicit HostDevice(const HostDeviceOptions& options);

  const DeviceInfo& info() const override { return info_; }
  absl::StatusOr<std::unique_ptr<Allocation>> Allocate(uint64_t bytes) override;
  uint64_t allocation_granularity() const override { return kHugePageBytes; }
  absl::Status RegisterStaging(absl::Span<std::byte>) override { return absl::OkStatus(); }
  void UnregisterStaging(absl::Span<std::byte>) override {}
  absl::Status RegisterSealed(absl::Span<const std::byte>) override { return absl::OkStatus(); }
  void UnregisterSealed(absl::Span<const std::byte>) override {}
  absl::StatusOr<std::unique_ptr<CopyQueue>> CreateCopyQueue() override;
  std::string pages() const override;
  Warnings warnings() const override { return warnings_.Get(); }
  std::vector<DeviceErrors> errors() const override { return errors_.Get(); }

 private:
  absl::StatusOr<std::unique_ptr<Allocation>> TryAllocate(uint64_t bytes);

  const HostDeviceOptions options_;  // fixed at construction
  DeviceInfo info_;                  // fixed at construction
  WarningList warnings_;             // synchronizes itself, as the next does
  ErrorCounts errors_{{ErrorCounts::Operation::kAllocate}};
  const UnmadeBytes unmade_ = std::make_shared<std::atomic<uint64_t>>(0);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_HOST_DEVICE_H_
