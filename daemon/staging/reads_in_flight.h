#ifndef WEIGHTD_DAEMON_STAGING_READS_IN_FLIGHT_H_
#define WEIGHTD_DAEMON_STAGING_READS_IN_FLIGHT_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace weightd {

// How many reads of all readers together are on their way into host memory. A read that hangs keeps
// what it was to fill, so there is a most of them; and each reader has no more in flight than a
// quarter of what is left, so that volumes which hang one after the other leave some to the next.
//
// A reader that has none, not even one that hangs, may always begin one: the most is exceeded by
// no more than one for each.
//
// Thread-safe.
class ReadsInFlight {
 public:
  explicit ReadsInFlight(uint32_t max) : max_(max) {}

  // Counts one more of a reader that has `moving` in flight, and `hanging` that hang; or false.
  bool TryBegin(uint64_t moving, uint64_t hanging) ABSL_LOCKS_EXCLUDED(mu_);
  void End(uint64_t count) ABSL_LOCKS_EXCLUDED(mu_);

  uint64_t count() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  const uint64_t max_;
  mutable absl::Mutex mu_;
  uint64_t count_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_READS_IN_FLIGHT_H_
