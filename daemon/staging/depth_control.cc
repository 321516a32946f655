#include "daemon/staging/depth_control.h"

#include <algorithm>

namespace weightd {
namespace {

constexpr absl::Duration kWindow = absl::Milliseconds(100);
constexpr double kGain = 1.05;

}  // namespace

void DepthControl::OnBytes(uint64_t bytes, bool limited, absl::Time now) {
  if (settled_) return;
  if (window_start_ == absl::InfinitePast()) window_start_ = now;
  window_bytes_ += bytes;
  window_limited_ = window_limited_ || limited;
  if (now - window_start_ >= kWindow) EndWindow(now);
}

void DepthControl::EndWindow(absl::Time now) {
  const double rate =
      static_cast<double>(window_bytes_) / absl::ToDoubleSeconds(now - window_start_);
  if (window_limited_) {
    if (rate > kGain * best_rate_ && depth_ < max_) {
      best_rate_ = rate;
      depth_ = std::min(2 * depth_, max_);
    } else {
      settled_ = true;
    }
  }
  window_start_ = now;
  window_bytes_ = 0;
  window_limited_ = false;
}

void DepthControl::Reset() { *this = DepthControl(max_); }

}  // namespace weightd
