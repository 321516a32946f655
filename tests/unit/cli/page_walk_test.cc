#include "client/cli/page_walk.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::cli {
namespace {

using ::testing::HasSubstr;
using weightd::testing::IsOk;
using weightd::testing::StatusIs;

TEST(PageWalkTest, GoesOnUntilAPageNamesNoOther) {
  PageWalk walk;
  EXPECT_EQ(walk.AddPage(2, 100, "", "a").value(), true);
  EXPECT_EQ(walk.AddPage(1, 100, "a", "").value(), false);
  PageWalk empty;
  EXPECT_EQ(empty.AddPage(0, 10, "", "").value(), false);
}

TEST(PageWalkTest, APageThatLeadsNowhereIsRefused) {
  PageWalk without_rows;
  EXPECT_THAT(without_rows.AddPage(0, 10, "", "a").status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("page 1 has 0 rows and says")));
  PageWalk in_a_circle;
  EXPECT_THAT(in_a_circle.AddPage(1, 10, "a", "a").status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("names itself")));
}

TEST(PageWalkTest, AnAnswerMayTakeSoMuchMemory) {
  PageWalk walk(1000);
  EXPECT_THAT(walk.Add(1, 1000), IsOk());
  EXPECT_THAT(walk.AddPage(1, 1, "", "a").status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("its first 2 rows take more than")));
}

TEST(PageWalkTest, SaysHowFarItWasWhenTimeIsUp) {
  PageWalk walk;
  const absl::Status late = absl::DeadlineExceededError("Deadline Exceeded");
  EXPECT_EQ(walk.Explain(late), late) << "of a call with one answer there is nothing to tell";
  EXPECT_TRUE(walk.AddPage(2, 10, "", "a").ok());
  EXPECT_EQ(walk.Explain(late).message(), "the answer did not end in time: 2 rows in 1 page came");
  EXPECT_EQ(walk.Explain(absl::InternalError("x")), absl::InternalError("x"));
}

}  // namespace
}  // namespace weightd::cli
