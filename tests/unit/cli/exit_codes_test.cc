#include "client/cli/exit_codes.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weightd::cli {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

TEST(ExitCodesTest, EveryReasonHasItsExitCode) {
  const std::map<Reason, ExitCode> expected = {
      {Reason::kModelNotFound, ExitCode::kNotFound},
      {Reason::kModelNotResident, ExitCode::kNotReady},
      {Reason::kModelBusy, ExitCode::kNotReady},
      {Reason::kModelLeased, ExitCode::kNotReady},
      {Reason::kCheckpointInvalid, ExitCode::kIntegrity},
      {Reason::kCheckpointChanged, ExitCode::kIntegrity},
      {Reason::kReadFailed, ExitCode::kError},
      {Reason::kPathOutsideRoot, ExitCode::kError},
      {Reason::kBudgetExceeded, ExitCode::kError},
      {Reason::kLimitExceeded, ExitCode::kError},
      {Reason::kDeviceNotFound, ExitCode::kNotFound},
      {Reason::kDeviceFailed, ExitCode::kError},
      {Reason::kHandleUnusable, ExitCode::kError},
      {Reason::kPermissionDenied, ExitCode::kNotPermitted},
      {Reason::kDraining, ExitCode::kNotReady},
      {Reason::kCancelled, ExitCode::kError},
      {Reason::kInvalidRequest, ExitCode::kUsage},
      {Reason::kTicketInvalid, ExitCode::kError},
      {Reason::kUnreachable, ExitCode::kUnreachable},
      {Reason::kIntegrityFailed, ExitCode::kIntegrity},
      {Reason::kLeaseRevoked, ExitCode::kNotReady},
      {Reason::kKeyMissing, ExitCode::kError},
      {Reason::kDigestMissing, ExitCode::kIntegrity},
      {Reason::kWaitTimeout, ExitCode::kNotReady},
      {Reason::kVolumeBusy, ExitCode::kNotReady},
      {Reason::kVolumeStuck, ExitCode::kNotReady},
  };
  // A new reason has to be put into the table: their values are counted from 0.
  for (int value = 0; ReasonName(static_cast<Reason>(value)) != "UNKNOWN"; ++value) {
    const auto reason = static_cast<Reason>(value);
    const auto row = expected.find(reason);
    ASSERT_NE(row, expected.end()) << ReasonName(reason);
    // The reason decides, whatever the code.
    for (const StatusCode code : {StatusCode::kUnknown, StatusCode::kNotFound}) {
      EXPECT_EQ(ExitCodeOf(ErrorWithReason(code, reason, "text")), row->second)
          << ReasonName(reason);
    }
  }
}

TEST(ExitCodesTest, EveryCodeWithoutAReasonHasItsExitCode) {
  const std::map<StatusCode, ExitCode> expected = {
      {StatusCode::kOk, ExitCode::kOk},
      {StatusCode::kCancelled, ExitCode::kError},
      {StatusCode::kUnknown, ExitCode::kError},
      {StatusCode::kInvalidArgument, ExitCode::kUsage},
      {StatusCode::kDeadlineExceeded, ExitCode::kNotReady},
      {StatusCode::kNotFound, ExitCode::kNotFound},
      {StatusCode::kAlreadyExists, ExitCode::kError},
      {StatusCode::kPermissionDenied, ExitCode::kNotPermitted},
      {StatusCode::kResourceExhausted, ExitCode::kError},
      {StatusCode::kFailedPrecondition, ExitCode::kNotReady},
      {StatusCode::kAborted, ExitCode::kError},
      {StatusCode::kOutOfRange, ExitCode::kError},
      {StatusCode::kUnimplemented, ExitCode::kError},
      {StatusCode::kInternal, ExitCode::kError},
      {StatusCode::kUnavailable, ExitCode::kUnreachable},
      {StatusCode::kDataLoss, ExitCode::kIntegrity},
      {StatusCode::kUnauthenticated, ExitCode::kNotPermitted},
  };
  for (int value = 0; value <= static_cast<int>(StatusCode::kUnauthenticated); ++value) {
    const auto code = static_cast<StatusCode>(value);
    ASSERT_TRUE(expected.contains(code)) << value;
    EXPECT_EQ(ExitCodeOf(absl::Status(code, "text")), expected.at(code)) << value;
  }
}

TEST(ExitCodesTest, HelpListsEveryCode) {
  for (int code = 0; code <= 7; ++code) {
    EXPECT_THAT(ExitCodeHelp(), HasSubstr(absl::StrCat("  ", code, "  ")));
  }
}

TEST(ExitCodesTest, HintsNameTheCommandThatHelps) {
  EXPECT_THAT(
      HintFor(ErrorWithReason(StatusCode::kFailedPrecondition, Reason::kModelNotResident, "text")),
      HasSubstr("weightctl stage"));
  EXPECT_THAT(HintFor(absl::DeadlineExceededError("text")), HasSubstr("--timeout"));
  EXPECT_EQ(HintFor(absl::InternalError("text")), "");
}

}  // namespace
}  // namespace weightd::cli
