#ifndef WEIGHTD_TESTS_SIMULATION_FAULTS_H_
#define WEIGHTD_TESTS_SIMULATION_FAULTS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace weightd::testing {

// A call of a seam that can fail.
enum class Call { kList, kOpen, kAllocate, kSeal, kExport, kCopyOut, kCopyIn, kStart, kCount };

// The Nth call of a kind fails, once. Thread-compatible.
class Faults {
 public:
  // `nth` counts from 1, from now; 0 heals.
  void Arm(Call call, uint32_t nth) { left_[static_cast<size_t>(call)] = nth; }
  void Heal() { left_.fill(0); }
  uint64_t hits() const { return hits_; }

  absl::Status Hit(Call call) {
    uint32_t& left = left_[static_cast<size_t>(call)];
    if (left == 0 || --left > 0) return absl::OkStatus();
    ++hits_;
    const bool is_volumes = call == Call::kList || call == Call::kOpen;
    return ErrorWithReason(absl::StatusCode::kInternal,
                           is_volumes ? Reason::kReadFailed : Reason::kDeviceFailed,
                           absl::StrCat("simulated failure of call ", static_cast<int>(call)));
  }

 private:
  std::array<uint32_t, static_cast<size_t>(Call::kCount)> left_ = {};
  uint64_t hits_ = 0;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SIMULATION_FAULTS_H_
