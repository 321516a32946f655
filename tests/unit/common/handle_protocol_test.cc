#include "common/handle_protocol.h"

#include <string>

#include "common/fd_passing.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

const std::string kTicket("0123456789\0bcdef", 16);

TEST(HandleProtocolTest, TicketRequestGoesBothWays) {
  const std::string bytes =
      EncodeHandleRequest({.kind = HandleRequest::Kind::kTicket, .ticket = kTicket});
  EXPECT_EQ(bytes, "WTK1" + kTicket);
  const auto request = DecodeHandleRequest(bytes);
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->kind, HandleRequest::Kind::kTicket);
  EXPECT_EQ(request->ticket, kTicket);
}

TEST(HandleProtocolTest, WhoAmIRequestGoesBothWays) {
  const std::string bytes = EncodeHandleRequest(HandleRequest());
  EXPECT_EQ(bytes, "WWH1");
  const auto request = DecodeHandleRequest(bytes);
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->kind, HandleRequest::Kind::kWhoAmI);
  EXPECT_EQ(request->ticket, "");
}

TEST(HandleProtocolTest, RefusesWhatIsNoRequest) {
  for (const std::string& bytes :
       {std::string(), std::string("WTK1"), "WTK1" + kTicket.substr(1), "WTK1" + kTicket + "x",
        "WTK2" + kTicket, std::string("WWH"), std::string("WWH1x"), std::string("WWH2")}) {
    EXPECT_FALSE(DecodeHandleRequest(bytes).has_value()) << bytes;
  }
}

TEST(HandleProtocolTest, RepliesKeepCodeReasonAndText) {
  EXPECT_OK(DecodeHandleReply(EncodeHandleReply(absl::OkStatus())));
  const absl::Status with_reason = DecodeHandleReply(EncodeHandleReply(
      ErrorWithReason(absl::StatusCode::kNotFound, Reason::kTicketInvalid, "no such ticket")));
  EXPECT_THAT(with_reason, StatusIs(absl::StatusCode::kNotFound, "no such ticket"));
  EXPECT_EQ(GetReason(with_reason), Reason::kTicketInvalid);
  const absl::Status without = DecodeHandleReply(EncodeHandleReply(absl::UnavailableError("busy")));
  EXPECT_THAT(without, StatusIs(absl::StatusCode::kUnavailable, "busy"));
  EXPECT_EQ(GetReason(without), std::nullopt);
}

TEST(HandleProtocolTest, CutsAReplyToOneMessage) {
  const std::string bytes = EncodeHandleReply(absl::InternalError(std::string(10'000, 'x')));
  EXPECT_EQ(bytes.size(), kFdMessageBytesMax);
  EXPECT_THAT(DecodeHandleReply(bytes), StatusIs(absl::StatusCode::kInternal, HasSubstr("xxx")));
}

TEST(HandleProtocolTest, RefusesWhatIsNoReply) {
  const std::string unknown_code("\x11\0\0\0\0", 5);
  const std::string no_separator("\x05\0\0\0ABC", 7);
  for (const std::string& bytes :
       {std::string(), std::string(4, '\0'), unknown_code, no_separator}) {
    EXPECT_THAT(DecodeHandleReply(bytes),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("handle socket")));
  }
}

}  // namespace
}  // namespace weightd::testing
