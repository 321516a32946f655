#ifndef WEIGHTD_TESTS_SUPPORT_COMMON_FAKE_CLOCK_H_
#define WEIGHTD_TESTS_SUPPORT_COMMON_FAKE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/clock.h"

namespace weightd::testing {

// A clock that moves only when told. Thread-safe.
class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    absl::MutexLock lock(&mu_);
    return now_;
  }
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mu_);
    now_ += by;
  }

 private:
  mutable absl::Mutex mu_;
  absl::Time now_ ABSL_GUARDED_BY(mu_) = absl::FromUnixSeconds(1'700'000'000);
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_COMMON_FAKE_CLOCK_H_
