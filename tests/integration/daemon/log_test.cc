// The log: lines that programs can read, and no secrets in them.

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/grpc_calls.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

// A short life with something of everything.
class LogTest : public DaemonTest {
 protected:
  void Live(const std::vector<std::string>& flags) {
    MakeModel("model", 1 << 20);
    Start(flags);
    Stage("model");
    EXPECT_EQ(ctl_.Run({"stage", "no such \"model\"", "--wait"}).exit_code, kExitNotFound);
    {
      const RawAttach attach(Connect(socket_dir_), "model");
      ticket_ = attach.granted().fd_ticket();
    }
    EventsUntil("LEASE_ENDED");
    EXPECT_EQ(ctl_.Run({"evict", "model"}).exit_code, kExitOk);
    StopCleanly();
  }
  std::string ticket_;
};

TEST_F(LogTest, JsonLinesParseAndNameWhatHappened) {
  Live({"--log.format", "JSON"});
  std::vector<std::string> happened;
  for (const absl::string_view line : absl::StrSplit(daemon_->log(), '\n', absl::SkipEmpty())) {
    const auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    ASSERT_FALSE(parsed.is_discarded()) << line;
    for (const char* key : {"time", "level", "event"}) EXPECT_TRUE(parsed.contains(key)) << line;
    happened.push_back(parsed["event"]);
    if (happened.back() == "stage_done") {
      EXPECT_TRUE(parsed["bytes"].is_number_unsigned()) << line;
      EXPECT_EQ(parsed["model"], "model");
    }
  }
  EXPECT_THAT(happened, IsSupersetOf({"serving", "stage_started", "stage_done", "stage_failed",
                                      "lease_granted", "lease_ended", "evicted", "drain_started",
                                      "stopped"}));
}

TEST_F(LogTest, TextLinesBeginWithLevelAndTime) {
  Live({});
  for (const absl::string_view line : absl::StrSplit(daemon_->log(), '\n', absl::SkipEmpty())) {
    ASSERT_GT(line.size(), 26) << line;
    EXPECT_THAT(std::string(1, line[0]), ::testing::AnyOf("I", "W", "E")) << line;
    EXPECT_EQ(line[24], 'Z') << line;
    EXPECT_EQ(line[25], ' ') << line;
  }
  EXPECT_THAT(daemon_->log(), HasSubstr("model=\"no such \\\"model\\\"\""));
}

TEST_F(LogTest, LevelLeavesOutWhatIsBelow) {
  MakeModel("model", 1 << 20);
  daemon_ = std::make_unique<DaemonProcess>(
      DaemonSetup{.root = root_, .socket_dir = socket_dir_, .flags = {"--log.level", "ERROR"}});
  EXPECT_TRUE(WaitUntil([&] { return ctl_.Run({"health"}).exit_code == kExitOk; }));
  Stage("model");
  EXPECT_EQ(ctl_.Run({"stage", "nowhere", "--wait"}).exit_code, kExitNotFound);
  StopCleanly();
  EXPECT_EQ(daemon_->log(), "");
}

TEST_F(LogTest, TicketIsInNoLine) {
  Live({"--log.format", "JSON"});
  ASSERT_GE(ticket_.size(), 16);
  const std::string log = absl::AsciiStrToLower(daemon_->log());
  EXPECT_THAT(daemon_->log(), Not(HasSubstr(ticket_)));
  EXPECT_THAT(log, Not(HasSubstr(absl::BytesToHexString(ticket_.substr(0, 8)))));
  EXPECT_THAT(daemon_->log(), Not(HasSubstr(absl::Base64Escape(ticket_.substr(0, 9)))));
}

}  // namespace
}  // namespace weightd::testing
