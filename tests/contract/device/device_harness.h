#ifndef WEIGHTD_TESTS_CONTRACT_DEVICE_DEVICE_HARNESS_H_
#define WEIGHTD_TESTS_CONTRACT_DEVICE_DEVICE_HARNESS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "daemon/device/device.h"

namespace weightd::testing {

// One implementation of Device, as the contract suite uses it.
class DeviceHarness {
 public:
  virtual ~DeviceHarness() = default;
  virtual Device& device() = 0;
  // Something that is the same before an allocation and after its end.
  virtual uint64_t Used() = 0;
  // Memory that its allocations have, and that does not change by itself.
  virtual uint64_t UsedBytes() { return Used(); }
  // What the implementation's double has found wrong. Empty is good.
  virtual std::vector<std::string> Violations() = 0;
};

struct HarnessKind {
  std::string name;
  // Null, with the reason, where it cannot run.
  std::function<std::unique_ptr<DeviceHarness>(std::string& reason)> create;
  friend std::ostream& operator<<(std::ostream& out, const HarnessKind& kind) {
    return out << kind.name;
  }
};

// host, memory, and cuda where cuda.h was found.
std::vector<HarnessKind> AllHarnessKinds();

// The environment says how many GPUs the fake has; each test process gets a node of its own, since
// CTest runs them side by side. Before the first use of the driver.
void UseOwnFakeNode();

// Anonymous memory on a page boundary, unmapped at the end of its scope.
class StagingMemory {
 public:
  explicit StagingMemory(uint64_t bytes);
  StagingMemory(const StagingMemory&) = delete;
  StagingMemory& operator=(const StagingMemory&) = delete;
  ~StagingMemory();
  absl::Span<std::byte> span() const { return {data_, bytes_}; }
  absl::Span<std::byte> slot(uint64_t index, uint64_t slot_bytes) const {
    return span().subspan(index * slot_bytes, slot_bytes);
  }

 private:
  std::byte* data_ = nullptr;
  const uint64_t bytes_;
};

// Fills with bytes that depend on the seed and on the place.
void FillPattern(absl::Span<std::byte> memory, uint64_t seed);
std::vector<std::byte> Pattern(uint64_t bytes, uint64_t seed);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_CONTRACT_DEVICE_DEVICE_HARNESS_H_
