#ifndef WEIGHTD_TESTS_SUPPORT_DEVICE_MEMORY_DEVICE_H_
#define WEIGHTD_TESTS_SUPPORT_DEVICE_MEMORY_DEVICE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "daemon/device/device.h"

namespace weightd::testing {

// A Device in memory whose copies end when the test says so, for simulations. Thread-safe; it
// outlives its allocations and queues.
//
// A copy reads its source when it ends, not when it is submitted: a buffer that is filled again too
// early shows in the content. What the product does wrong is kept in violations():
//   - a copy from memory that was not registered (kCuda), memory unregistered or an allocation
//   freed
//     with copies in flight
//   - an allocation freed while a MappedExport of it lives
struct MemoryDeviceOptions {
  enum class Completion {
    kOnPoll,  // Poll ends up to `copies_per_poll` of its queue
    kOnStep,  // Step() ends them; Poll waits up to its timeout for that
  };
  std::string id = "GPU-memory-0";
  DeviceKind kind = DeviceKind::kCuda;  // kHost: host_memory(), exports are descriptors
  uint64_t total_bytes = uint64_t{1} << 30;
  Completion completion = Completion::kOnPoll;
  uint32_t copies_per_poll = 1;
  uint64_t granularity_bytes = uint64_t{2} << 20;  // a power of two
};

class MemoryAllocation;
class MemoryCopyQueue;

// An export that "another process" has mapped, until it is destroyed.
class MappedExport {
 public:
  explicit MappedExport(std::shared_ptr<const std::vector<std::byte>> memory)
      : memory_(std::move(memory)) {}
  absl::Span<const std::byte> bytes() const { return *memory_; }

 private:
  std::shared_ptr<const std::vector<std::byte>> memory_;
};

class MemoryDevice final : public Device {
 public:
  explicit MemoryDevice(MemoryDeviceOptions options = {});
  MemoryDevice(const MemoryDevice&) = delete;
  MemoryDevice& operator=(const MemoryDevice&) = delete;
  ~MemoryDevice() override;

  const DeviceInfo& info() const override { return info_; }
  absl::StatusOr<std::unique_ptr<Allocation>> Allocate(uint64_t bytes) override;
  uint64_t allocation_granularity() const override { return options_.granularity_bytes; }
  absl::Status RegisterStaging(absl::Span<std::byte> memory) override { return Register(memory); }
  void UnregisterStaging(absl::Span<std::byte> memory) override { Unregister(memory); }
  absl::Status RegisterSealed(absl::Span<const std::byte> memory) override;
  void UnregisterSealed(absl::Span<const std::byte> memory) override { Unregister(memory); }
  absl::StatusOr<std::unique_ptr<CopyQueue>> CreateCopyQueue() override;

  // The nth Allocate() or Submit() from now, counted from 1, returns `error`.
  void FailAllocate(uint64_t nth, const absl::Status& error);
  void FailSubmit(uint64_t nth, const absl::Status& error);
  // The nth RegisterSealed() from now returns `error`.
  void FailRegisterSealed(uint64_t nth, const absl::Status& error);
  // The nth copy that ends from now fails: its queue's Poll and Finish return `error`.
  void FailCopy(uint64_t nth, const absl::Status& error);

  // Ends up to `copies` copies, oldest first over all queues; how many it ended.
  uint32_t Step(uint32_t copies);

  // What a client would do with the 64 bytes of an export. NOT_FOUND for one of freed memory.
  absl::StatusOr<MappedExport> Map(absl::string_view cuda_ipc_handle);

  uint64_t used_bytes() const;
  uint64_t peak_used_bytes() const;
  uint32_t allocation_count() const;
  // Ranges given to RegisterStaging() or RegisterSealed() and not taken back.
  uint32_t registered_count() const;
  // Submitted and not ended, over all queues.
  uint32_t copies_in_flight() const;
  std::vector<std::string> violations() const;

 private:
  friend class MemoryAllocation;
  friend class MemoryCopyQueue;

  struct Copy {
    uint64_t sequence = 0;  // over all queues
    MemoryAllocation* to = nullptr;
    uint64_t offset = 0;
    absl::Span<const std::byte> from;
    std::optional<uint64_t> move_from;  // a move within `to` of from.size() bytes
    uint64_t tag = 0;
  };
  // A failure that waits for its turn.
  struct Fault {
    uint64_t calls_left = 0;
    absl::Status error;
  };
  // Counts down; the error when it is this call's turn.
  static absl::Status Hit(Fault& fault);

  absl::Status Register(absl::Span<const std::byte> memory);
  void Unregister(absl::Span<const std::byte> memory);
  bool IsRegistered(absl::Span<const std::byte> memory) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Violate(const std::string& line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EndOldest(MemoryCopyQueue& queue) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Free(MemoryAllocation& allocation);

  const MemoryDeviceOptions options_;  // fixed at construction
  DeviceInfo info_;                    // fixed at construction
  mutable absl::Mutex mu_;
  uint64_t next_sequence_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t next_handle_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t used_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t peak_used_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t allocation_count_ ABSL_GUARDED_BY(mu_) = 0;
  Fault allocate_fault_ ABSL_GUARDED_BY(mu_);
  Fault submit_fault_ ABSL_GUARDED_BY(mu_);
  Fault register_fault_ ABSL_GUARDED_BY(mu_);
  Fault copy_fault_ ABSL_GUARDED_BY(mu_);
  std::set<MemoryCopyQueue*> queues_ ABSL_GUARDED_BY(mu_);
  std::map<const std::byte*, size_t> registered_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::weak_ptr<const std::vector<std::byte>>> exports_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> violations_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_DEVICE_MEMORY_DEVICE_H_
