#ifndef WEIGHTD_DAEMON_STAGING_DEPTH_CONTROL_H_
#define WEIGHTD_DAEMON_STAGING_DEPTH_CONTROL_H_

#include <cstdint>

#include "absl/time/time.h"

namespace weightd {

// How many reads to keep in flight: starts at 8 and doubles while that makes a window of 100 ms
// more than 5 % faster, up to a maximum. More than the volume needs costs memory and makes other
// readers of the volume wait.
//
// Thread-compatible; times are of one steady clock.
class DepthControl {
 public:
  static constexpr uint32_t kStart = 8;

  explicit DepthControl(uint32_t max) : max_(max), depth_(max < kStart ? max : kStart) {}

  uint32_t depth() const { return depth_; }
  // Bytes have arrived. `limited` tells that more reads would have been in flight if depth() had
  // let them: only then a window says something about the depth.
  void OnBytes(uint64_t bytes, bool limited, absl::Time now);
  // The volume rests: what was learned of its speed may not hold any more.
  void Reset();

 private:
  void EndWindow(absl::Time now);

  uint32_t max_;
  uint32_t depth_;
  absl::Time window_start_ = absl::InfinitePast();
  uint64_t window_bytes_ = 0;
  bool window_limited_ = false;
  double best_rate_ = 0;  // bytes per second of the windows before
  bool settled_ = false;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_DEPTH_CONTROL_H_
