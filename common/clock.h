#ifndef WEIGHTD_COMMON_CLOCK_H_
#define WEIGHTD_COMMON_CLOCK_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace weightd {

// The time of day, as a seam: tests have one that only moves when told
// (tests/support/fake_clock.h). Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

class SystemClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace weightd

#endif  // WEIGHTD_COMMON_CLOCK_H_
