#include "common/thread_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "tests/support/common/limited_process.h"
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

TEST(ThreadLimitsTest, SaysHowManyThereAre) {
  const std::optional<bool> right = testing::RunWithProcesses(64'002, 5, [] {
    const absl::Status status = CheckThreadsToSpare(8, "gRPC");
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return absl::IsResourceExhausted(status) &&
           absl::StrContains(status.message(), "threads of gRPC: got 4, wanted 8; ") &&
           absl::StrContains(status.message(), "ulimit -u is 5") &&
           CheckThreadsToSpare(4, "gRPC").ok();
  });
  if (!right.has_value()) GTEST_SKIP() << "needs root, to become nobody";
  EXPECT_TRUE(*right);
}

}  // namespace
}  // namespace weightd
