#include "tests/support/process/wait_until.h"

#include "absl/time/clock.h"

namespace weightd::testing {

bool WaitUntil(absl::FunctionRef<bool()> condition, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!condition()) {
    if (absl::Now() >= deadline) return condition();
    // tidy: the one place that polls what no descriptor tells of
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

}  // namespace weightd::testing
