#include "daemon/device/host_device.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/status_macros.h"
#include "daemon/device/copy_range.h"
#include "daemon/device/host_allocation.h"

namespace weightd {
namespace {

// Host copies are done at once; the queue remembers only what Poll still has to say.
class HostCopyQueue final : public CopyQueue {
 public:
  absl::Status Submit(const CopyRequest& request) override {
    auto* to = dynamic_cast<HostAllocation*>(request.to);
    if (to == nullptr) return absl::InvalidArgumentError("copy: the allocation is not the host's");
    if (to->sealed()) return absl::FailedPreconditionError("copy: the allocation is sealed");
    RETURN_IF_ERROR(CheckRange("copy", request.offset, request.from.size(), to->bytes()));
    if (to->host_memory().empty()) return absl::FailedPreconditionError("copy: not mapped");
    std::byte* target = to->host_memory().data() + request.offset;
    // A direct read may have landed in place already.
    if (!request.from.empty() && target != request.from.data()) {
      std::memcpy(target, request.from.data(), request.from.size());
    }
    done_.push_back(request.tag);
    return absl::OkStatus();
  }

  absl::Status Poll(absl::Duration, absl::FunctionRef<void(uint64_t tag)> done) override {
    // Taken first: `done` may submit again.
    const std::vector<uint64_t> tags = std::exchange(done_, {});
    for (const uint64_t tag : tags) done(tag);
    return absl::OkStatus();
  }

  absl::Status Move(Allocation& allocation, uint64_t from, uint64_t to, uint64_t bytes) override {
    auto* target = dynamic_cast<HostAllocation*>(&allocation);
    if (target == nullptr) return absl::InvalidArgumentError("move: not the host's allocation");
    if (target->sealed()) return absl::FailedPreconditionError("move: the allocation is sealed");
    RETURN_IF_ERROR(CheckMove(from, to, bytes, allocation.bytes()));
    if (target->host_memory().empty()) return absl::FailedPreconditionError("move: not mapped");
    std::byte* base = target->host_memory().data();
    if (bytes > 0) std::memcpy(base + to, base + from, bytes);
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    done_.clear();
    return absl::OkStatus();
  }

  uint32_t in_flight() const override { return static_cast<uint32_t>(done_.size()); }

 private:
  std::vector<uint64_t> done_;
};

absl::Status TooLittleMemory(uint64_t wanted, const HostMemory& memory, uint64_t headroom) {
  return ErrorWithReason(
      absl::StatusCode::kResourceExhausted, Reason::kDeviceFailed,
      absl::StrCat("allocate ", FormatBytes(wanted), " of host memory: ",
                   FormatBytes(memory.available_bytes), " of ", FormatBytes(memory.total_bytes),
                   " are free, of which ", FormatBytes(headroom), " stay free"),
      {{"wantedBytes", absl::StrCat(wanted)}, {"freeBytes", absl::StrCat(memory.available_bytes)}});
}

// The kernel refused although the numbers looked good.
absl::Status WithNumbers(const absl::Status& status, uint64_t wanted) {
  const HostMemory memory = ReadHostMemory();
  return ErrorWithReason(
      status.code(), Reason::kDeviceFailed,
      absl::StrCat("allocate ", FormatBytes(wanted), " of host memory, ",
                   FormatBytes(memory.available_bytes), " are free: ", status.message()));
}

}  // namespace

HostDevice::HostDevice(const HostDeviceOptions& options) : options_(options) {
  const HostMemory memory = ReadHostMemory();
  info_.id = "host";
  info_.kind = DeviceKind::kHost;
  info_.name = "host memory";
  info_.total_bytes = memory.total_bytes;
  info_.free_bytes = memory.available_bytes;
  if (options_.huge_pages == HostDeviceOptions::HugePages::kAuto && memory.free_huge_bytes == 0 &&
      !memory.transparent_huge) {
    warnings_.Add(
        WarningReason::kSmallPages,
        "host memory has small pages, which cost CPU time: no huge pages are reserved "
        "(vm.nr_hugepages) and transparent ones are off for shared memory (write advise to "
        "/sys/kernel/mm/transparent_hugepage/shmem_enabled)");
  }
}

absl::StatusOr<std::unique_ptr<Allocation>> HostDevice::Allocate(uint64_t bytes) {
  if (bytes == 0) return absl::InvalidArgumentError("allocate 0 bytes of host memory");
  auto allocation = TryAllocate(bytes);
  if (!allocation.ok()) {
    (void)errors_.Count(ErrorCounts::Operation::kAllocate, allocation.status());
  }
  return allocation;
}

absl::StatusOr<std::unique_ptr<Allocation>> HostDevice::TryAllocate(uint64_t bytes) {
  HostMemory memory = ReadHostMemory();
  // What other allocations will take counts as available until it is taken.
  memory.available_bytes -= std::min(memory.available_bytes, unmade_->load());
  const bool fits = bytes <= memory.total_bytes;  // then rounding up cannot wrap either
  if (!fits) return TooLittleMemory(bytes, memory, options_.headroom_bytes);
  const uint64_t rounded = AlignUp(bytes, kHugePageBytes);
  const bool huge = options_.huge_pages == HostDeviceOptions::HugePages::kAuto;
  if (huge && rounded <= memory.free_huge_bytes) {
    // Reserved huge pages are not among what is available, so nobody counts them.
    auto allocation = HostAllocation::Create(rounded, HostPages::kHugetlb);
    if (allocation.ok()) return allocation;
    warnings_.Add(WarningReason::kHugePagesRefused,
                  absl::StrCat("reserved huge pages are refused, going on without: ",
                               allocation.status().message()));
  } else if (huge && memory.free_huge_bytes > 0) {
    warnings_.Add(
        WarningReason::kHugePagesTooFew,
        "the reserved huge pages (vm.nr_hugepages) do not suffice for every allocation; those "
        "that do not fit are made of other pages");
  }
  if (rounded > memory.available_bytes ||
      memory.available_bytes - rounded < options_.headroom_bytes) {
    return TooLittleMemory(rounded, memory, options_.headroom_bytes);
  }
  const bool transparent = huge && memory.transparent_huge;
  auto allocation = HostAllocation::Create(
      rounded, transparent ? HostPages::kTransparentHuge : HostPages::kSmall, unmade_);
  if (!allocation.ok()) return WithNumbers(allocation.status(), rounded);
  return allocation;
}

std::string HostDevice::pages() const {
  if (options_.huge_pages == HostDeviceOptions::HugePages::kOff) return "small";
  const HostMemory memory = ReadHostMemory();
  if (memory.free_huge_bytes > 0) return "hugetlb";
  return memory.transparent_huge ? "transparent" : "small";
}

absl::StatusOr<std::unique_ptr<CopyQueue>> HostDevice::CreateCopyQueue() {
  return std::make_unique<HostCopyQueue>();
}

std::unique_ptr<Device> CreateHostDevice(const HostDeviceOptions& options) {
  return std::make_unique<HostDevice>(options);
}

}  // namespace weightd
