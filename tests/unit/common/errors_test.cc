#include "common/errors.h"

#include <cerrno>

#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(ErrorsTest, CarriesReasonAndMetadata) {
  const absl::Status status =
      ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kBudgetExceeded,
                      "stage x: does not fit", {{"neededBytes", "7"}, {"empty", ""}});
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, "stage x: does not fit"));
  EXPECT_EQ(GetReason(status), Reason::kBudgetExceeded);
  const std::map<std::string, std::string> wanted = {{"empty", ""}, {"neededBytes", "7"}};
  EXPECT_EQ(GetReasonMetadata(status), wanted);
}

TEST(ErrorsTest, HasNoReasonWithoutOne) {
  EXPECT_EQ(GetReason(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(GetReason(absl::InternalError("x")), std::nullopt);
  EXPECT_THAT(GetReasonMetadata(absl::InternalError("x")), IsEmpty());
  EXPECT_THAT(
      GetReasonMetadata(ErrorWithReason(absl::StatusCode::kAborted, Reason::kCancelled, "")),
      IsEmpty());
}

TEST(ErrorsTest, NamesOfReasonsGoBothWays) {
  for (int value = 0; value <= static_cast<int>(Reason::kIntegrityFailed); ++value) {
    const Reason reason = static_cast<Reason>(value);
    EXPECT_NE(ReasonName(reason), "UNKNOWN");
    EXPECT_EQ(ReasonFromName(ReasonName(reason)), reason);
  }
  EXPECT_EQ(ReasonWords().size(), static_cast<size_t>(Reason::kVolumeStuck) + 2);
  EXPECT_EQ(ReasonWord(absl::InternalError("x")), "UNKNOWN");
  EXPECT_EQ(ReasonWord(ErrorWithReason(absl::StatusCode::kAborted, Reason::kCancelled, "")),
            "CANCELLED");
  EXPECT_EQ(ReasonFromName("NO_SUCH_REASON"), std::nullopt);
  EXPECT_EQ(ReasonFromName(""), std::nullopt);
}

TEST(ErrorsTest, AnnotateKeepsCodeReasonAndMetadata) {
  const absl::Status status = Annotate(
      ErrorWithReason(absl::StatusCode::kDataLoss, Reason::kReadFailed, "short", {{"file", "a"}}),
      "stage x");
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, "stage x: short"));
  EXPECT_EQ(GetReason(status), Reason::kReadFailed);
  EXPECT_EQ(GetReasonMetadata(status)["file"], "a");
  EXPECT_OK(Annotate(absl::OkStatus(), "stage x"));
}

TEST(ErrorsTest, ErrnoBecomesWhatTheCallerCanDo) {
  const std::pair<int, absl::StatusCode> cases[] = {{ENOENT, absl::StatusCode::kNotFound},
                                                    {EACCES, absl::StatusCode::kPermissionDenied},
                                                    {EPERM, absl::StatusCode::kPermissionDenied},
                                                    {ENOMEM, absl::StatusCode::kResourceExhausted},
                                                    {EMFILE, absl::StatusCode::kResourceExhausted},
                                                    {EIO, absl::StatusCode::kDataLoss},
                                                    {ESTALE, absl::StatusCode::kDataLoss},
                                                    {EINTR, absl::StatusCode::kUnavailable},
                                                    {EAGAIN, absl::StatusCode::kUnavailable},
                                                    {EINVAL, absl::StatusCode::kInvalidArgument},
                                                    {ENOSYS, absl::StatusCode::kUnimplemented}};
  for (const auto& [error, code] : cases) {
    EXPECT_THAT(PosixError(error, "open x"), StatusIs(code, StartsWith("open x: "))) << error;
  }
}

TEST(ErrorsTest, ReadErrorNamesFileAndOffset) {
  const absl::Status status = ReadError(EIO, "a.safetensors", 4096);
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("read a.safetensors at 4096: ")));
  EXPECT_EQ(GetReason(status), Reason::kReadFailed);
}

}  // namespace
}  // namespace weightd::testing
