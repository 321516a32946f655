#include "common/thread_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "absl/strings/match.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ThreadLimitsTest, TellsWhatHolds) {
  EXPECT_THAT(
      HowToRaiseThreadLimits(),
      AllOf(HasSubstr("raise the limit of processes (ulimit -u is "), HasSubstr("pids.max")));
}

TEST(ThreadLimitsTest, ThreadsThatThereAreAreRight) { EXPECT_OK(CheckThreadsToSpare(4, "a")); }

// In a process of its own, whose limit it lowers as a user without rights.
TEST(ThreadLimitsTest, SaysHowManyThereAre) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (::setuid(64'002) != 0) ::_exit(2);
    const rlimit few = {.rlim_cur = 5, .rlim_max = 5};
    if (::setrlimit(RLIMIT_NPROC, &few) != 0) ::_exit(2);
    const absl::Status status = CheckThreadsToSpare(8, "gRPC");
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    const bool right = absl::IsResourceExhausted(status) &&
                       absl::StrContains(status.message(), "threads of gRPC: got 4, wanted 8; ") &&
                       absl::StrContains(status.message(), "ulimit -u is 5");
    ::_exit(right && CheckThreadsToSpare(4, "gRPC").ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2) GTEST_SKIP() << "needs root, to become nobody";
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace weightd
