#include "common/thread.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
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

// In a process of its own, whose limit it lowers as a user without rights.
TEST(ThreadTest, SaysWhichLimitKeepsItFromStarting) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::setuid(64'000) != 0) ::_exit(2);
    const rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    if (::setrlimit(RLIMIT_NPROC, &none) != 0) ::_exit(2);
    const absl::StatusOr<Thread> thread = Thread::Start("no", [] {});
    const bool right = absl::IsResourceExhausted(thread.status()) &&
                       thread.status().message().find("ulimit -u") != absl::string_view::npos;
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2) GTEST_SKIP() << "needs root, to become nobody";
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace weightd
