#include "daemon/main/drain.h"

#include <unistd.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "common/clock.h"
#include "daemon/main/lock_order.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// On stderr, which the death tests read.
std::unique_ptr<Logger> MakeLogger() {
  static const SystemClock kClock;
  auto logger = Logger::Start(LogFormat::kText, LogLevel::kInfo, kClock);
  EXPECT_OK(logger);
  return *std::move(logger);
}

TEST(DrainStepsTest, StepThatHangsIsLeftBehindAndOthersFollow) {
  const auto logger = MakeLogger();
  auto guard = StopGuard::Start(*logger, absl::Hours(1));
  ASSERT_OK(guard);
  auto release = std::make_shared<absl::Notification>();
  DrainSteps steps(**guard, *logger, [] { return "one lease"; });
  EXPECT_TRUE(steps.Run("quick", absl::InfiniteDuration(), [] {}));
  EXPECT_THAT(steps.left_behind(), IsEmpty());
  const auto hung = steps.Begin("hung", [release] { release->WaitForNotification(); });
  bool ran = false;
  EXPECT_TRUE(steps.Run("next", absl::InfiniteDuration(), [&ran] { ran = true; }));
  EXPECT_TRUE(ran);
  EXPECT_FALSE(steps.Await(hung, absl::Milliseconds(1)));
  EXPECT_THAT(steps.left_behind(), ElementsAre("hung"));
  release->Notify();
}

// What is known of the daemon may hang with it.
TEST(DrainStepsTest, FactsMayHangToo) {
  const auto logger = MakeLogger();
  auto guard = StopGuard::Start(*logger, absl::Hours(1));
  ASSERT_OK(guard);
  auto release = std::make_shared<absl::Notification>();
  DrainSteps steps(**guard, *logger, [release] {
    release->WaitForNotification();
    return "late";
  });
  EXPECT_FALSE(
      steps.Run("hung", absl::Milliseconds(1), [release] { release->WaitForNotification(); }));
  release->Notify();
}

TEST(StopGuardDeathTest, EndsTheProcessWhenAStopHangs) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto hang = [] {
    const auto logger = MakeLogger();
    const auto guard = StopGuard::Start(*logger, -kStopTime);
    (*guard)->Enter("wait for ever");
    (*guard)->Arm();
    while (true) ::pause();
  };
  EXPECT_EXIT(hang(), ::testing::ExitedWithCode(1), "stop_hangs step=\"wait for ever\"");
}

TEST(StopGuardTest, StandsDown) {
  const auto logger = MakeLogger();
  auto guard = StopGuard::Start(*logger, absl::Hours(1));
  ASSERT_OK(guard);
  (*guard)->Arm();
  guard->reset();
  ASSERT_OK(StopGuard::Start(*logger, absl::Hours(1)));  // nobody ever asked for a stop
}

TEST(LockOrderDeathTest, TwoOrdersEndTheProcess) {
  if (!kLockChecks) GTEST_SKIP() << "built without WEIGHTD_LOCK_CHECKS";
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto both_ways = [] {
    CheckLockOrder();
    absl::Mutex first;
    absl::Mutex second;
    first.Lock();
    second.Lock();
    second.Unlock();
    first.Unlock();
    second.Lock();
    first.Lock();  // no other thread is there: nothing hangs
    first.Unlock();
    second.Unlock();
  };
  EXPECT_DEATH(both_ways(), "[dD]eadlock|dining");
}

}  // namespace
}  // namespace weightd
