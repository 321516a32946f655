#include "common/thread.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <optional>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "tests/support/common/limited_process.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

std::string OwnName() {
  std::array<char, 16> name{};
  ::pthread_getname_np(::pthread_self(), name.data(), name.size());
  return name.data();
}

TEST(ThreadTest, RunsTheBodyUnderItsName) {
  std::string name;
  absl::StatusOr<Thread> thread = Thread::Start("reader", [&] { name = OwnName(); });
  ASSERT_OK(thread);
  thread->Join();
  EXPECT_EQ(name, "reader");
  EXPECT_FALSE(thread->joinable());
}

TEST(ThreadTest, CutsANameThatIsTooLong) {
  std::string name;
  absl::StatusOr<Thread> thread = Thread::Start("a-name-of-20-letters", [&] { name = OwnName(); });
  ASSERT_OK(thread);
  thread->Join();
  EXPECT_EQ(name, "a-name-of-20-le");
}

TEST(ThreadTest, JoinsWhenDestroyed) {
  std::atomic<bool> ended = false;
  {
    absl::StatusOr<Thread> started = Thread::Start("joined", [&] { ended = true; });
    ASSERT_OK(started);
    const Thread thread = *std::move(started);
  }
  EXPECT_TRUE(ended);
}

TEST(ThreadTest, ADetachedThreadEndsByItself) {
  absl::Notification ended;
  ASSERT_OK(Thread::StartDetached("detached", [&] { ended.Notify(); }));
  ended.WaitForNotification();
}

TEST(ThreadTest, SaysWhichLimitKeepsItFromStarting) {
  const std::optional<bool> right = testing::RunWithProcesses(64'000, 0, [] {
    const absl::StatusOr<Thread> thread = Thread::Start("no", [] {});
    return absl::IsResourceExhausted(thread.status()) &&
           thread.status().message().find("ulimit -u") != absl::string_view::npos;
  });
  if (!right.has_value()) GTEST_SKIP() << "needs root, to become nobody";
  EXPECT_TRUE(*right);
}

}  // namespace
}  // namespace weightd
