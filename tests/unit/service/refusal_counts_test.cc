#include "daemon/service/refusal_counts.h"

#include "common/errors.h"
#include "gtest/gtest.h"

namespace weightd {
namespace {

TEST(RefusalCountsTest, HasEveryRequestAndReasonFromTheStart) {
  const auto counts = RefusalCounts().Get();
  EXPECT_EQ(counts.size(), kCountedRequests.size() * ReasonWords().size());
  for (const auto& [key, count] : counts) EXPECT_EQ(count, 0U) << key.first << " " << key.second;
}

TEST(RefusalCountsTest, CountsTheOneThatWasRefused) {
  RefusalCounts counts;
  counts.Add("evict", "MODEL_LEASED");
  counts.Add("evict", "MODEL_LEASED");
  counts.Add("pin", kUnknownReason);
  auto expected = RefusalCounts().Get();
  expected[{"evict", "MODEL_LEASED"}] = 2;
  expected[{"pin", "UNKNOWN"}] = 1;
  EXPECT_EQ(counts.Get(), expected);
}

}  // namespace
}  // namespace weightd
