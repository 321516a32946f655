#ifndef WEIGHTD_DAEMON_DEVICE_ERROR_COUNTS_H_
#define WEIGHTD_DAEMON_DEVICE_ERROR_COUNTS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "daemon/device/device.h"

namespace weightd {

// What Device::errors() returns: how often the driver or the kernel failed, by what was wanted of
// it. Mistakes of a caller do not count. Thread-safe.
class ErrorCounts {
 public:
  enum class Operation { kAllocate, kContext, kCopy, kExport, kFree, kPin, kRead };

  explicit ErrorCounts(std::vector<Operation> counted) : counted_(std::move(counted)) {}

  // Counts what is not OK, and returns it.
  absl::Status Count(Operation operation, absl::Status status) {
    if (!status.ok()) counts_.at(static_cast<size_t>(operation)).fetch_add(1);
    return status;
  }

  std::vector<DeviceErrors> Get() const {
    static constexpr std::array kWords = {"allocate", "context", "copy", "export",
                                          "free",     "pin",     "read"};
    std::vector<DeviceErrors> all;
    for (const Operation operation : counted_) {
      const auto index = static_cast<size_t>(operation);
      all.push_back({.operation = kWords.at(index), .count = counts_.at(index).load()});
    }
    return all;
  }

 private:
  const std::vector<Operation> counted_;  // that can happen on the device
  std::array<std::atomic<uint64_t>, 7> counts_ = {};
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_ERROR_COUNTS_H_
