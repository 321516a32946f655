#ifndef WEIGHTD_TESTS_SUPPORT_DEVICE_MEMORY_PARTS_H_
#define WEIGHTD_TESTS_SUPPORT_DEVICE_MEMORY_PARTS_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "tests/support/device/memory_device.h"

namespace weightd::testing {

// Inside MemoryDevice: its allocations and queues. The device's lock guards what is shared.

class MemoryAllocation final : public Allocation {
 public:
  MemoryAllocation(MemoryDevice& device, uint64_t bytes);
  MemoryAllocation(const MemoryAllocation&) = delete;
  MemoryAllocation& operator=(const MemoryAllocation&) = delete;
  ~MemoryAllocation() override { device_.Free(*this); }

  uint64_t bytes() const override { return bytes_; }
  absl::Span<std::byte> host_memory() override;
  absl::Status Seal() override;
  absl::StatusOr<Export> CreateExport() const override;
  absl::Span<const std::byte> sealed_memory() const override;
  absl::Status CopyOut(uint64_t offset, absl::Span<std::byte> to) const override;

  MemoryDevice& device() const { return device_; }
  bool sealed() const { return sealed_; }
  // The first boundary of the granularity in the storage.
  std::byte* base() const { return base_; }
  const std::shared_ptr<std::vector<std::byte>>& storage() const { return storage_; }

 private:
  MemoryDevice& device_;
  const uint64_t bytes_;
  // For kCuda exactly the bytes; for kHost with room to align them.
  const std::shared_ptr<std::vector<std::byte>> storage_;
  std::byte* const base_;
  bool sealed_ = false;
};

class MemoryCopyQueue final : public CopyQueue {
 public:
  explicit MemoryCopyQueue(MemoryDevice& device);
  MemoryCopyQueue(const MemoryCopyQueue&) = delete;
  MemoryCopyQueue& operator=(const MemoryCopyQueue&) = delete;
  ~MemoryCopyQueue() override;

  absl::Status Submit(const CopyRequest& request) override;
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(uint64_t tag)> done) override;
  absl::Status Move(Allocation& allocation, uint64_t from, uint64_t to, uint64_t bytes) override;
  // Ends what is in flight, in kOnStep too: a step that nobody takes would hang it.
  absl::Status Finish() override;
  uint32_t in_flight() const override;

 private:
  friend class MemoryDevice;
  absl::StatusOr<MemoryAllocation*> Writable(Allocation* allocation) const;
  uint32_t CopiesPending() const;

  MemoryDevice& device_;
  // Guarded by the device's lock, which an annotation cannot name here.
  std::deque<MemoryDevice::Copy> pending_;
  std::vector<uint64_t> ended_;
  absl::Status failed_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_DEVICE_MEMORY_PARTS_H_
