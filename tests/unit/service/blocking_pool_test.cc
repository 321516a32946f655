#include "daemon/service/blocking_pool.h"

#include <atomic>

#include "absl/synchronization/notification.h"
#include "common/errors.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::HasSubstr;
using testing::ReasonIs;

TEST(BlockingPoolTest, RunsEverythingBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    BlockingPool pool(3, 100);
    for (int i = 0; i < 100; ++i) ASSERT_OK(pool.Submit([&] { ++ran; }));
  }
  EXPECT_EQ(ran, 100);
}

TEST(BlockingPoolTest, RefusesWhenFullAndGoesOn) {
  absl::Notification started;
  absl::Notification release;
  std::atomic<int> ran = 0;
  {
    BlockingPool pool(1, 2);
    ASSERT_OK(pool.Submit([&] {
      started.Notify();
      release.WaitForNotification();
    }));
    started.WaitForNotification();
    ASSERT_OK(pool.Submit([&] { ++ran; }));
    ASSERT_OK(pool.Submit([&] { ++ran; }));
    EXPECT_THAT(pool.Submit([&] { ++ran; }), ReasonIs(Reason::kLimitExceeded, HasSubstr("2")));
    release.Notify();
  }
  EXPECT_EQ(ran, 2);
}

}  // namespace
}  // namespace weightd
