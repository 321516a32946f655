#ifndef WEIGHTD_DAEMON_STAGING_RATE_LIMIT_H_
#define WEIGHTD_DAEMON_STAGING_RATE_LIMIT_H_

#include <cstdint>

#include "absl/time/time.h"

namespace weightd {

// Keeps what is taken under a number of bytes per second, over any time longer than a tenth of a
// second. Whoever takes more than is there waits until the debt is paid. Thread-compatible; times
// are of one steady clock.
class RateLimit {
 public:
  // 0 is no limit.
  explicit RateLimit(uint64_t bytes_per_second) : bytes_per_second_(bytes_per_second) {}

  // When bytes may be taken again: the infinite past without a limit.
  absl::Time free_at() const { return free_at_; }
  void Take(uint64_t bytes, absl::Time now);

 private:
  const uint64_t bytes_per_second_;
  absl::Time free_at_ = absl::InfinitePast();
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_RATE_LIMIT_H_
