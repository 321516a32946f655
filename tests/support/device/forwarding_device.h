#ifndef WEIGHTD_TESTS_SUPPORT_DEVICE_FORWARDING_DEVICE_H_
#define WEIGHTD_TESTS_SUPPORT_DEVICE_FORWARDING_DEVICE_H_

#include <memory>
#include <utility>

#include "common/status_macros.h"
#include "tests/support/device/memory_device.h"

// Bases of doubles that put something before a MemoryDevice's calls: each hands every call on.
// Thread-safe as what is inside.

namespace weightd::testing {

class ForwardingAllocation : public Allocation {
 public:
  explicit ForwardingAllocation(std::unique_ptr<Allocation> inner) : inner_(std::move(inner)) {}
  uint64_t bytes() const override { return inner_->bytes(); }
  absl::Span<std::byte> host_memory() override { return inner_->host_memory(); }
  absl::StatusOr<uint64_t> ready_bytes() const override { return inner_->ready_bytes(); }
  absl::Status Seal() override { return inner_->Seal(); }
  absl::Span<const std::byte> sealed_memory() const override { return inner_->sealed_memory(); }
  absl::StatusOr<Export> CreateExport() const override { return inner_->CreateExport(); }
  absl::Status CopyOut(uint64_t offset, absl::Span<std::byte> to) const override {
    return inner_->CopyOut(offset, to);
  }
  Allocation& inner() { return *inner_; }

 private:
  const std::unique_ptr<Allocation> inner_;
};

// Copies to what is inside of ForwardingAllocations.
class ForwardingCopyQueue : public CopyQueue {
 public:
  explicit ForwardingCopyQueue(std::unique_ptr<CopyQueue> inner) : inner_(std::move(inner)) {}
  absl::Status Submit(const CopyRequest& request) override {
    CopyRequest inside = request;
    inside.to = &dynamic_cast<ForwardingAllocation&>(*request.to).inner();
    return inner_->Submit(inside);
  }
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(uint64_t tag)> done) override {
    return inner_->Poll(timeout, done);
  }
  absl::Status Move(Allocation& allocation, uint64_t from, uint64_t to, uint64_t bytes) override {
    return inner_->Move(dynamic_cast<ForwardingAllocation&>(allocation).inner(), from, to, bytes);
  }
  absl::Status Finish() override { return inner_->Finish(); }
  uint32_t in_flight() const override { return inner_->in_flight(); }

 private:
  const std::unique_ptr<CopyQueue> inner_;
};

// Allocate() must give ForwardingAllocations: the queues take no others.
class ForwardingDevice : public Device {
 public:
  explicit ForwardingDevice(const MemoryDeviceOptions& options) : inner_(options) {}
  const DeviceInfo& info() const override { return inner_.info(); }
  uint64_t allocation_granularity() const override { return inner_.allocation_granularity(); }
  absl::Status RegisterStaging(absl::Span<std::byte> memory) override {
    return inner_.RegisterStaging(memory);
  }
  void UnregisterStaging(absl::Span<std::byte> memory) override {
    inner_.UnregisterStaging(memory);
  }
  absl::Status RegisterSealed(absl::Span<const std::byte> memory) override {
    return inner_.RegisterSealed(memory);
  }
  void UnregisterSealed(absl::Span<const std::byte> memory) override {
    inner_.UnregisterSealed(memory);
  }
  absl::StatusOr<std::unique_ptr<CopyQueue>> CreateCopyQueue() override {
    ASSIGN_OR_RETURN(std::unique_ptr<CopyQueue> queue, inner_.CreateCopyQueue());
    return std::make_unique<ForwardingCopyQueue>(std::move(queue));
  }
  MemoryDevice& inner() { return inner_; }

 private:
  MemoryDevice inner_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_DEVICE_FORWARDING_DEVICE_H_
