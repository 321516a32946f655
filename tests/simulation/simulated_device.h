#ifndef WEIGHTD_TESTS_SIMULATION_SIMULATED_DEVICE_H_
#define WEIGHTD_TESTS_SIMULATION_SIMULATED_DEVICE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/faults.h"
#include "tests/support/device/forwarding_device.h"

namespace weightd::testing {

// A MemoryDevice of which each call that a real one takes its time for is a point where an actor
// yields, and may fail. Thread-compatible, and its actors' one after another.
class SimulatedDevice final : public ForwardingDevice {
 public:
  // `budget_bytes`: what it must never have allocated more of.
  SimulatedDevice(const std::string& id, DeviceKind kind, uint64_t budget_bytes, Faults& faults);

  absl::StatusOr<std::unique_ptr<Allocation>> Allocate(uint64_t bytes) override;
  absl::StatusOr<std::unique_ptr<CopyQueue>> CreateCopyQueue() override;

  uint64_t budget_bytes() const { return budget_bytes_; }
  // What went wrong, besides the inner device's violations().
  const std::vector<std::string>& violations() const { return violations_; }

 private:
  const uint64_t budget_bytes_;
  Faults& faults_;
  std::vector<std::string> violations_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SIMULATION_SIMULATED_DEVICE_H_
