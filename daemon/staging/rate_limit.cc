#include "daemon/staging/rate_limit.h"

#include <algorithm>

namespace weightd {
namespace {

// What was not taken may be made up for, this much of it.
constexpr absl::Duration kCredit = absl::Milliseconds(100);

}  // namespace

void RateLimit::Take(uint64_t bytes, absl::Time now) {
  if (bytes_per_second_ == 0) return;
  const absl::Duration cost =
      absl::Seconds(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_));
  free_at_ = std::max(free_at_, now - kCredit) + cost;
}

}  // namespace weightd
