#include "tests/support/device/memory_device.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "tests/support/device/memory_parts.h"

namespace weightd::testing {

MemoryDevice::MemoryDevice(MemoryDeviceOptions options) : options_(std::move(options)) {
  info_.id = options_.id;
  info_.kind = options_.kind;
  info_.name = "memory device (test double)";
  info_.total_bytes = options_.total_bytes;
  info_.free_bytes = options_.total_bytes;
}

MemoryDevice::~MemoryDevice() = default;

absl::Status MemoryDevice::Hit(Fault& fault) {
  if (fault.calls_left == 0 || --fault.calls_left > 0) return absl::OkStatus();
  return fault.error;
}

absl::StatusOr<std::unique_ptr<Allocation>> MemoryDevice::Allocate(uint64_t bytes) {
  if (bytes == 0) return absl::InvalidArgumentError("allocate 0 bytes");
  uint64_t rounded = 0;
  {
    absl::MutexLock lock(&mu_);
    if (absl::Status error = Hit(allocate_fault_); !error.ok()) return error;
    const uint64_t free_bytes = options_.total_bytes - used_bytes_;
    rounded = bytes > options_.total_bytes ? bytes : AlignUp(bytes, allocation_granularity());
    if (rounded > free_bytes) {
      return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kDeviceFailed,
                             absl::StrCat("allocate ", rounded, " bytes on ", info_.id, ": ",
                                          free_bytes, " of ", options_.total_bytes, " are free"));
    }
    used_bytes_ += rounded;
    peak_used_bytes_ = std::max(peak_used_bytes_, used_bytes_);
    ++allocation_count_;
  }
  return std::make_unique<MemoryAllocation>(*this, rounded);
}

void MemoryDevice::Free(MemoryAllocation& allocation) {
  absl::MutexLock lock(&mu_);
  used_bytes_ -= allocation.bytes();
  --allocation_count_;
  // The allocation itself holds one.
  if (allocation.storage().use_count() > 1) Violate("freed while a client has it mapped");
  for (MemoryCopyQueue* queue : queues_) {
    const auto lost = std::remove_if(queue->pending_.begin(), queue->pending_.end(),
                                     [&](const Copy& copy) { return copy.to == &allocation; });
    if (lost == queue->pending_.end()) continue;
    Violate("freed with copies in flight");
    queue->pending_.erase(lost, queue->pending_.end());
  }
}

absl::Status MemoryDevice::RegisterSealed(absl::Span<const std::byte> memory) {
  {
    absl::MutexLock lock(&mu_);
    RETURN_IF_ERROR(Hit(register_fault_));
  }
  return Register(memory);
}

absl::Status MemoryDevice::Register(absl::Span<const std::byte> memory) {
  absl::MutexLock lock(&mu_);
  if (registered_.emplace(memory.data(), memory.size()).second) return absl::OkStatus();
  Violate("memory registered twice");
  return absl::AlreadyExistsError("register memory: already registered");
}

void MemoryDevice::Unregister(absl::Span<const std::byte> memory) {
  absl::MutexLock lock(&mu_);
  for (const MemoryCopyQueue* queue : queues_) {
    for (const Copy& copy : queue->pending_) {
      const bool reads = copy.from.data() < memory.data() + memory.size() &&
                         memory.data() < copy.from.data() + copy.from.size();
      if (reads && !copy.move_from.has_value()) {
        Violate("memory unregistered with copies in flight");
      }
    }
  }
  if (registered_.erase(memory.data()) == 0) Violate("unregistered what was not registered");
}

bool MemoryDevice::IsRegistered(absl::Span<const std::byte> memory) const {
  auto after = registered_.upper_bound(memory.data());
  if (after == registered_.begin()) return false;
  const auto& [begin, bytes] = *--after;
  return memory.data() + memory.size() <= begin + bytes;
}

absl::StatusOr<std::unique_ptr<CopyQueue>> MemoryDevice::CreateCopyQueue() {
  return std::make_unique<MemoryCopyQueue>(*this);
}

void MemoryDevice::EndOldest(MemoryCopyQueue& queue) {
  const Copy copy = queue.pending_.front();
  queue.pending_.pop_front();
  if (queue.failed_.ok()) queue.failed_ = Hit(copy_fault_);
  if (!queue.failed_.ok()) return;
  if (!copy.from.empty()) {
    std::memcpy(copy.to->base() + copy.offset, copy.from.data(), copy.from.size());
  }
  if (!copy.move_from.has_value()) queue.ended_.push_back(copy.tag);
}

uint32_t MemoryDevice::Step(uint32_t copies) {
  absl::MutexLock lock(&mu_);
  for (uint32_t ended = 0; ended < copies; ++ended) {
    MemoryCopyQueue* oldest = nullptr;
    for (MemoryCopyQueue* queue : queues_) {
      if (queue->pending_.empty()) continue;
      if (oldest == nullptr ||
          queue->pending_.front().sequence < oldest->pending_.front().sequence) {
        oldest = queue;
      }
    }
    if (oldest == nullptr) return ended;
    EndOldest(*oldest);
  }
  return copies;
}

void MemoryDevice::FailAllocate(uint64_t nth, const absl::Status& error) {
  absl::MutexLock lock(&mu_);
  allocate_fault_ = {nth, error};
}

void MemoryDevice::FailRegisterSealed(uint64_t nth, const absl::Status& error) {
  absl::MutexLock lock(&mu_);
  register_fault_ = {nth, error};
}

void MemoryDevice::FailSubmit(uint64_t nth, const absl::Status& error) {
  absl::MutexLock lock(&mu_);
  submit_fault_ = {nth, error};
}

void MemoryDevice::FailCopy(uint64_t nth, const absl::Status& error) {
  absl::MutexLock lock(&mu_);
  copy_fault_ = {nth, error};
}

absl::StatusOr<MappedExport> MemoryDevice::Map(absl::string_view cuda_ipc_handle) {
  absl::MutexLock lock(&mu_);
  const auto found = exports_.find(std::string(cuda_ipc_handle));
  auto memory = found == exports_.end() ? nullptr : found->second.lock();
  if (memory == nullptr) return absl::NotFoundError("map export: no such memory, or freed");
  return MappedExport(std::move(memory));
}

void MemoryDevice::Violate(const std::string& line) { violations_.push_back(line); }

uint64_t MemoryDevice::used_bytes() const {
  absl::MutexLock lock(&mu_);
  return used_bytes_;
}

uint64_t MemoryDevice::peak_used_bytes() const {
  absl::MutexLock lock(&mu_);
  return peak_used_bytes_;
}

uint32_t MemoryDevice::registered_count() const {
  absl::MutexLock lock(&mu_);
  return static_cast<uint32_t>(registered_.size());
}

uint32_t MemoryDevice::allocation_count() const {
  absl::MutexLock lock(&mu_);
  return allocation_count_;
}

uint32_t MemoryDevice::copies_in_flight() const {
  absl::MutexLock lock(&mu_);
  size_t count = 0;
  for (const MemoryCopyQueue* queue : queues_) count += queue->pending_.size();
  return static_cast<uint32_t>(count);
}

std::vector<std::string> MemoryDevice::violations() const {
  absl::MutexLock lock(&mu_);
  return violations_;
}

}  // namespace weightd::testing
