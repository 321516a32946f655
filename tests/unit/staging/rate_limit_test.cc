#include "daemon/staging/rate_limit.h"

#include "gtest/gtest.h"

namespace weightd {
namespace {

TEST(RateLimitTest, WithoutALimitBytesAreAlwaysFree) {
  RateLimit limit(0);
  limit.Take(uint64_t{1} << 60, absl::UnixEpoch());
  EXPECT_EQ(limit.free_at(), absl::InfinitePast());
}

TEST(RateLimitTest, WhoTakesMoreWaitsUntilItIsPaid) {
  RateLimit limit(1000);
  const absl::Time start = absl::UnixEpoch();
  EXPECT_LE(limit.free_at(), start);
  limit.Take(5000, start);  // a tenth of a second is in hand
  EXPECT_EQ(limit.free_at(), start + absl::Milliseconds(4900));
  limit.Take(1000, limit.free_at());
  EXPECT_EQ(limit.free_at(), start + absl::Milliseconds(5900));
}

TEST(RateLimitTest, StaysUnderTheRateOverAnyTime) {
  RateLimit limit(1'000'000);
  absl::Time now = absl::UnixEpoch();
  uint64_t taken = 0;
  const absl::Time end = now + absl::Seconds(10);
  while (now < end) {
    if (now >= limit.free_at()) {
      limit.Take(4096, now);
      taken += 4096;
    }
    now += absl::Milliseconds(1);
  }
  EXPECT_LE(taken, 10'000'000 + 100'000 + 4096);
  EXPECT_GE(taken, 9'900'000);
}

TEST(RateLimitTest, TimeNotUsedIsMadeUpForATenthOfASecondOnly) {
  RateLimit limit(1000);
  limit.Take(1, absl::UnixEpoch());
  const absl::Time later = absl::UnixEpoch() + absl::Hours(1);
  limit.Take(1000, later);
  EXPECT_EQ(limit.free_at(), later + absl::Milliseconds(900));
}

}  // namespace
}  // namespace weightd
