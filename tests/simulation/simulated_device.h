#ifndef WEIGHTD_TESTS_SIMULATION_SIMULATED_DEVICE_H_
#define WEIGHTD_TESTS_SIMULATION_SIMULATED_DEVICE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/faults.h"
#include "tests/support/device/memory_device.h"

namespace weightd::testing {

// A MemoryDevice of which each call that a real one takes its time for is a point where an actor
// yields, and may fail. Thread-compatible, and its actors' one after another.
class SimulatedDevice final : public Device {
 public:
  // `budget_bytes`: what it must never have allocated more of.
  SimulatedDevice(const std::string& id, DeviceKind kind, uint64_t budget_bytes, Faults& faults);

  const DeviceInfo& info() const override { return inner_.info(); }
  absl::StatusOr<std::unique_ptr<Allocation>> Allocate(uint64_t bytes) override;
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
  absl::StatusOr<std::unique_ptr<CopyQueue>> CreateCopyQueue() override;

  MemoryDevice& inner() { return inner_; }
  uint64_t budget_bytes() const { return budget_bytes_; }
  // What went wrong, besides the inner device's violations().
  const std::vector<std::string>& violations() const { return violations_; }

 private:
  MemoryDevice inner_;
  const uint64_t budget_bytes_;
  Faults& faults_;
  std::vector<std::string> violations_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SIMULATION_SIMULATED_DEVICE_H_
