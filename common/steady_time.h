#ifndef WEIGHTD_COMMON_STEADY_TIME_H_
#define WEIGHTD_COMMON_STEADY_TIME_H_

#include <chrono>

#include "absl/time/time.h"

namespace weightd {

// Time that never jumps, unlike absl::Now(): a clock set forward must not look like a stalled disk.
// Its zero means nothing; only differences do.
inline absl::Time SteadyNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace weightd

#endif  // WEIGHTD_COMMON_STEADY_TIME_H_
