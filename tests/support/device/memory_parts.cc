#include "tests/support/device/memory_parts.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/device/copy_range.h"

namespace weightd::testing {
namespace {

constexpr size_t kHandleBytes = 64;

// Room for the alignment where an address shows.
uint64_t StorageBytes(const MemoryDevice& device, uint64_t bytes) {
  return device.info().kind == DeviceKind::kHost ? bytes + device.allocation_granularity() : bytes;
}

std::byte* BaseOf(const MemoryDevice& device, std::vector<std::byte>& storage) {
  if (device.info().kind != DeviceKind::kHost) return storage.data();
  const auto address = reinterpret_cast<uintptr_t>(storage.data());
  return storage.data() + (AlignUp(address, device.allocation_granularity()) - address);
}

// A descriptor of a copy: who maps it sees the bytes.
absl::StatusOr<UniqueFd> MemfdOf(absl::Span<const std::byte> memory) {
  UniqueFd fd(::memfd_create("weightd-memory-device", MFD_CLOEXEC));
  size_t written = 0;
  while (fd.valid() && written < memory.size()) {
    const ssize_t count = ::write(fd.get(), memory.data() + written, memory.size() - written);
    if (count < 0) return PosixError(errno, "write memfd");
    written += static_cast<size_t>(count);
  }
  if (!fd.valid()) return PosixError(errno, "create memfd");
  return fd;
}

}  // namespace

MemoryAllocation::MemoryAllocation(MemoryDevice& device, uint64_t bytes)
    : device_(device),
      bytes_(bytes),
      storage_(
          std::make_shared<std::vector<std::byte>>(StorageBytes(device, bytes), std::byte{0xCD})),
      base_(BaseOf(device, *storage_)) {}

absl::Span<std::byte> MemoryAllocation::host_memory() {
  if (sealed_ || device_.info().kind != DeviceKind::kHost) return {};
  return {base_, bytes_};
}

absl::Status MemoryAllocation::Seal() {
  if (sealed_) return absl::FailedPreconditionError("seal allocation: already sealed");
  sealed_ = true;
  return absl::OkStatus();
}

absl::Span<const std::byte> MemoryAllocation::sealed_memory() const {
  if (!sealed_ || device_.info().kind != DeviceKind::kHost) return {};
  return {base_, bytes_};
}

absl::StatusOr<Export> MemoryAllocation::CreateExport() const {
  if (!sealed_) return absl::FailedPreconditionError("export allocation: not sealed yet");
  Export result;
  if (device_.info().kind == DeviceKind::kHost) {
    ASSIGN_OR_RETURN(result.fd, MemfdOf({base_, bytes_}));
    return result;
  }
  absl::MutexLock lock(&device_.mu_);
  result.cuda_ipc_handle = absl::StrCat("memory-device-", device_.next_handle_++);
  result.cuda_ipc_handle.resize(kHandleBytes, '\0');
  device_.exports_[result.cuda_ipc_handle] = storage_;
  return result;
}

absl::Status MemoryAllocation::CopyOut(uint64_t offset, absl::Span<std::byte> to) const {
  RETURN_IF_ERROR(CheckRange("copy out of allocation", offset, to.size(), bytes_));
  absl::MutexLock lock(&device_.mu_);
  if (!to.empty()) std::memcpy(to.data(), base_ + offset, to.size());
  return absl::OkStatus();
}

MemoryCopyQueue::MemoryCopyQueue(MemoryDevice& device) : device_(device) {
  absl::MutexLock lock(&device_.mu_);
  device_.queues_.insert(this);
}

MemoryCopyQueue::~MemoryCopyQueue() {
  absl::MutexLock lock(&device_.mu_);
  while (!pending_.empty()) device_.EndOldest(*this);
  device_.queues_.erase(this);
}

absl::StatusOr<MemoryAllocation*> MemoryCopyQueue::Writable(Allocation* allocation) const {
  auto* target = dynamic_cast<MemoryAllocation*>(allocation);
  if (target == nullptr || &target->device() != &device_) {
    return absl::InvalidArgumentError("copy: the allocation is another device's");
  }
  if (target->sealed()) return absl::FailedPreconditionError("copy: the allocation is sealed");
  return target;
}

absl::Status MemoryCopyQueue::Submit(const CopyRequest& request) {
  absl::MutexLock lock(&device_.mu_);
  RETURN_IF_ERROR(failed_);
  ASSIGN_OR_RETURN(MemoryAllocation * to, Writable(request.to));
  RETURN_IF_ERROR(CheckRange("copy", request.offset, request.from.size(), to->bytes()));
  failed_ = MemoryDevice::Hit(device_.submit_fault_);
  RETURN_IF_ERROR(failed_);
  if (device_.info().kind == DeviceKind::kCuda && !device_.IsRegistered(request.from)) {
    device_.Violate("copy from memory that was not registered");
    failed_ = ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kDeviceFailed,
                              "copy: the memory is not registered");
    return failed_;
  }
  while (pending_.size() >= kCopiesInFlightMax) device_.EndOldest(*this);
  MemoryDevice::Copy copy;
  copy.sequence = device_.next_sequence_++;
  copy.to = to;
  copy.offset = request.offset;
  copy.from = request.from;
  copy.tag = request.tag;
  pending_.push_back(copy);
  return absl::OkStatus();
}

absl::Status MemoryCopyQueue::Move(Allocation& allocation, uint64_t from, uint64_t to,
                                   uint64_t bytes) {
  absl::MutexLock lock(&device_.mu_);
  RETURN_IF_ERROR(failed_);
  ASSIGN_OR_RETURN(MemoryAllocation * target, Writable(&allocation));
  RETURN_IF_ERROR(CheckMove(from, to, bytes, target->bytes()));
  MemoryDevice::Copy copy;
  copy.sequence = device_.next_sequence_++;
  copy.to = target;
  copy.offset = to;
  copy.from = absl::Span<const std::byte>(target->base() + from, bytes);
  copy.move_from = from;
  pending_.push_back(copy);
  return absl::OkStatus();
}

uint32_t MemoryCopyQueue::CopiesPending() const {
  uint32_t count = 0;
  for (const MemoryDevice::Copy& copy : pending_) count += copy.move_from.has_value() ? 0 : 1;
  return count;
}

absl::Status MemoryCopyQueue::Poll(absl::Duration timeout,
                                   absl::FunctionRef<void(uint64_t tag)> done) {
  std::vector<uint64_t> tags;
  {
    absl::MutexLock lock(&device_.mu_);
    const auto something = [this] {
      return !ended_.empty() || !failed_.ok() || CopiesPending() == 0;
    };
    if (device_.options_.completion == MemoryDeviceOptions::Completion::kOnStep) {
      device_.mu_.AwaitWithTimeout(absl::Condition(&something), timeout);
    } else {
      const size_t wanted = ended_.size() + device_.options_.copies_per_poll;
      while (ended_.size() < wanted && CopiesPending() > 0 && failed_.ok()) {
        device_.EndOldest(*this);
      }
    }
    RETURN_IF_ERROR(failed_);
    tags = std::exchange(ended_, {});
  }
  // Without the lock: `done` may submit again.
  for (const uint64_t tag : tags) done(tag);
  return absl::OkStatus();
}

absl::Status MemoryCopyQueue::Finish() {
  absl::MutexLock lock(&device_.mu_);
  while (!pending_.empty()) device_.EndOldest(*this);
  RETURN_IF_ERROR(failed_);
  ended_.clear();
  return absl::OkStatus();
}

uint32_t MemoryCopyQueue::in_flight() const {
  absl::MutexLock lock(&device_.mu_);
  return CopiesPending() + static_cast<uint32_t>(ended_.size());
}

}  // namespace weightd::testing
