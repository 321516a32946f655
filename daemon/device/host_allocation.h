#ifndef WEIGHTD_DAEMON_DEVICE_HOST_ALLOCATION_H_
#define WEIGHTD_DAEMON_DEVICE_HOST_ALLOCATION_H_

#include <memory>

#include "common/unique_fd.h"
#include "daemon/device/device.h"
#include "daemon/device/host_mapping.h"
#include "daemon/device/page_maker.h"

namespace weightd {

// How the pages of a memfd are got.
enum class HostPages { kHugetlb, kTransparentHuge, kSmall };

// One memfd, mapped here. Thread-compatible.
class HostAllocation final : public Allocation {
 public:
  // `bytes` is a multiple of 2 MiB. Its pages are made from now on, by another thread.
  // RESOURCE_EXHAUSTED when reserved huge pages do not suffice; a lack of other pages shows in
  // ready_bytes().
  static absl::StatusOr<std::unique_ptr<HostAllocation>> Create(
      uint64_t bytes, HostPages pages,
      UnmadeBytes unmade = std::make_shared<std::atomic<uint64_t>>(0));

  uint64_t bytes() const override { return mapping_.memory().size(); }
  absl::StatusOr<uint64_t> ready_bytes() const override { return pages_->ready_bytes(); }
  absl::Span<std::byte> host_memory() override;
  absl::Status Seal() override;
  absl::StatusOr<Export> CreateExport() const override;
  uint64_t GiveBackAllBut(absl::Span<const absl::Span<std::byte>> kept) override;
  absl::Status CopyOut(uint64_t offset, absl::Span<std::byte> to) const override;

  absl::Span<const std::byte> sealed_memory() const override;

  bool sealed() const { return sealed_; }

 private:
  HostAllocation(UniqueFd fd, HostMapping mapping, std::unique_ptr<PageMaker> pages)
      : fd_(std::move(fd)), mapping_(std::move(mapping)), pages_(std::move(pages)) {}
  absl::Status AddSeals();

  UniqueFd fd_;  // read-only after Seal() where /proc is mounted
  HostMapping mapping_;
  std::unique_ptr<PageMaker> pages_;  // goes before what it works on
  bool sealed_ = false;
  bool mapped_ = true;  // false only after a Seal() that the kernel broke off half-way
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_HOST_ALLOCATION_H_
