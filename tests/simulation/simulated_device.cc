#include "tests/simulation/simulated_device.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/status_macros.h"
#include "tests/support/executor/simulated_executor.h"

namespace weightd::testing {
namespace {

class SimulatedAllocation final : public ForwardingAllocation {
 public:
  SimulatedAllocation(std::unique_ptr<Allocation> inner, DeviceKind kind, Faults& faults)
      : ForwardingAllocation(std::move(inner)), kind_(kind), faults_(faults) {}
  SimulatedAllocation(const SimulatedAllocation&) = delete;
  SimulatedAllocation& operator=(const SimulatedAllocation&) = delete;
  ~SimulatedAllocation() override { SimulatedExecutor::Yield(); }

  absl::Status Seal() override {
    SimulatedExecutor::Yield();
    RETURN_IF_ERROR(faults_.Hit(Call::kSeal));
    return ForwardingAllocation::Seal();
  }
  absl::StatusOr<Export> CreateExport() const override {
    // A descriptor is duplicated under a lock (LeaseTable::RedeemTicket).
    if (kind_ == DeviceKind::kCuda) SimulatedExecutor::Yield();
    RETURN_IF_ERROR(faults_.Hit(Call::kExport));
    return ForwardingAllocation::CreateExport();
  }
  absl::Status CopyOut(uint64_t offset, absl::Span<std::byte> to) const override {
    SimulatedExecutor::Yield();
    RETURN_IF_ERROR(faults_.Hit(Call::kCopyOut));
    return ForwardingAllocation::CopyOut(offset, to);
  }

 private:
  const DeviceKind kind_;
  Faults& faults_;
};

class SimulatedCopyQueue final : public ForwardingCopyQueue {
 public:
  SimulatedCopyQueue(std::unique_ptr<CopyQueue> inner, Faults& faults)
      : ForwardingCopyQueue(std::move(inner)), faults_(faults) {}

  absl::Status Submit(const CopyRequest& request) override {
    SimulatedExecutor::Yield();
    RETURN_IF_ERROR(failed_);
    failed_ = faults_.Hit(Call::kCopyIn);
    RETURN_IF_ERROR(failed_);
    return ForwardingCopyQueue::Submit(request);
  }
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(uint64_t tag)> done) override {
    SimulatedExecutor::Yield();
    RETURN_IF_ERROR(failed_);
    return ForwardingCopyQueue::Poll(timeout, done);
  }
  absl::Status Move(Allocation& allocation, uint64_t from, uint64_t to, uint64_t bytes) override {
    RETURN_IF_ERROR(failed_);
    return ForwardingCopyQueue::Move(allocation, from, to, bytes);
  }
  absl::Status Finish() override {
    SimulatedExecutor::Yield();
    absl::Status finished = ForwardingCopyQueue::Finish();
    RETURN_IF_ERROR(failed_);
    return finished;
  }

 private:
  Faults& faults_;
  absl::Status failed_;
};

}  // namespace

SimulatedDevice::SimulatedDevice(const std::string& id, DeviceKind kind, uint64_t budget_bytes,
                                 Faults& faults)
    : ForwardingDevice({.id = id, .kind = kind, .granularity_bytes = 4 * kKiB}),
      budget_bytes_(budget_bytes),
      faults_(faults) {}

absl::StatusOr<std::unique_ptr<Allocation>> SimulatedDevice::Allocate(uint64_t bytes) {
  SimulatedExecutor::Yield();
  RETURN_IF_ERROR(faults_.Hit(Call::kAllocate));
  ASSIGN_OR_RETURN(std::unique_ptr<Allocation> allocation, inner().Allocate(bytes));
  if (inner().used_bytes() > budget_bytes_) {
    violations_.push_back(absl::StrCat(info().id, " has ", inner().used_bytes(),
                                       " bytes allocated, budget ", budget_bytes_));
  }
  return std::make_unique<SimulatedAllocation>(std::move(allocation), info().kind, faults_);
}

absl::StatusOr<std::unique_ptr<CopyQueue>> SimulatedDevice::CreateCopyQueue() {
  ASSIGN_OR_RETURN(std::unique_ptr<CopyQueue> queue, inner().CreateCopyQueue());
  return std::make_unique<SimulatedCopyQueue>(std::move(queue), faults_);
}

}  // namespace weightd::testing
