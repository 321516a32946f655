#ifndef WEIGHTD_DAEMON_DEVICE_HOST_ALLOCATION_H_
#define WEIGHTD_DAEMON_DEVICE_HOST_ALLOCATION_H_

#include <memory>

#include "common/unique_fd.h"
#include "daemon/device/device.h"
#include "daemon/device/host_mapping.h"

namespace weightd {

// How the pages of a memfd are got.
enum class HostPages { kHugetlb, kTransparentHuge, kSmall };

// One memfd, mapped here. Thread-compatible.
class HostAllocation final : public Allocation {
 public:
  // Creates, reserves and touches `bytes`, a multiple of 2 MiB. RESOURCE_EXHAUSTED when the pages
  // are not there.
  static absl::StatusOr<std::unique_ptr<HostAllocation>> Create(uint64_t bytes, HostPages pages);

  uint64_t bytes() const override { return mapping_.memory().size(); }
  absl::Span<std::byte> host_memory() override;
  absl::Status Seal() override;
  absl::StatusOr<Export> CreateExport() const override;
  absl::Status CopyOut(uint64_t offset, absl::Span<std::byte> to) const override;

  bool sealed() const { return sealed_; }

 private:
  HostAllocation(UniqueFd fd, HostMapping mapping)
      : fd_(std::move(fd)), mapping_(std::move(mapping)) {}
  absl::Status AddSeals();

  UniqueFd fd_;  // read-only after Seal() where /proc is mounted
  HostMapping mapping_;
  bool sealed_ = false;
  bool mapped_ = true;  // false only after a Seal() that the kernel broke off half-way
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_HOST_ALLOCATION_H_
