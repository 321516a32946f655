// SIGHUP: what may change at run time changes, and what may not is refused by name.

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ReloadTest : public DaemonTest {
 protected:
  // The configuration is root and these lines.
  void StartWith(const std::string& lines, const std::vector<std::string>& more_flags = {}) {
    MakeModel("model", 1 << 20);
    MakeModel("other", 1 << 20, 2);
    Write(lines);
    std::vector<std::string> flags = {"--config", path_};
    flags.insert(flags.end(), more_flags.begin(), more_flags.end());
    Start(flags);
  }
  void Write(const std::string& lines) const { ASSERT_OK(WriteRawFile(path_, lines)); }
  // Until the daemon has said `word` once more.
  void Reload(const std::string& lines, const std::string& word) {
    Write(lines);
    const size_t before = Count(word);
    daemon_->Signal(SIGHUP);
    ASSERT_TRUE(WaitUntil([&] { return Count(word) > before; })) << daemon_->log();
  }
  size_t Count(const std::string& word) const {
    const std::string log = daemon_->log();
    size_t count = 0;
    for (size_t at = log.find(word); at != std::string::npos; at = log.find(word, at + 1)) ++count;
    return count;
  }

  const std::string path_ = dir_.File("weightd.textproto");
};

TEST_F(ReloadTest, AccessChangesForCallsThatComeLater) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to run clients as another user";
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  StartWith("access { attach_gid: 4242 }");
  EXPECT_EQ(ctl_.RunAs(kNobody, kOurGroup, {"ls"}).exit_code, kExitNotPermitted);
  Reload("access { attach_gid: 4242 attach_uid: 65534 }", "reloaded settings=access.attach_uid");
  EXPECT_EQ(ctl_.RunAs(kNobody, kOurGroup, {"ls"}).exit_code, kExitOk);
  EXPECT_EQ(ctl_.RunAs(kNobody, kOurGroup, {"stage", "model"}).exit_code, kExitNotPermitted);
  Reload("access { attach_gid: 4242 }", "reloaded settings=access.attach_uid");
  EXPECT_EQ(ctl_.RunAs(kNobody, kOurGroup, {"ls"}).exit_code, kExitNotPermitted);
}

TEST_F(ReloadTest, NewPreloadIsStagedAndOneTakenOutStays) {
  StartWith("preload: \"model\"");
  ASSERT_TRUE(WaitUntil([&] { return Resident() == std::vector<std::string>{"model"}; }));
  Reload("preload: \"other\"", "reloaded settings=preload");
  EXPECT_TRUE(WaitUntil([&] { return Resident() == std::vector<std::string>{"model", "other"}; }));
}

TEST_F(ReloadTest, LogLevelAndFormatChange) {
  StartWith("log { level: INFO }");
  Reload("log { level: INFO format: JSON }", "\"event\":\"reloaded\"");
  // This reload's own line is below its level: it shows by what it stages.
  Write("log { level: ERROR } preload: \"other\"");
  daemon_->Signal(SIGHUP);
  ASSERT_TRUE(WaitUntil([&] { return Resident() == std::vector<std::string>{"other"}; }));
  Stage("model");
  EXPECT_THAT(daemon_->log(), Not(HasSubstr("stage_done")));
}

TEST_F(ReloadTest, LeaseLimitHoldsForTheNextLease) {
  StartWith("");
  Stage("model");
  const auto first = Attach("model");
  ASSERT_THAT(first->Attached(), HasSubstr("attached"));
  Reload("limits { leases_max: 1 }", "reloaded settings=limits.leases_max");
  AttachProbe second(Probe("model", {}));
  EXPECT_THAT(second.Attached(), HasSubstr("LIMIT_EXCEEDED"));
  EXPECT_TRUE(first->LeaseHeld());
}

TEST_F(ReloadTest, StageDefaultsHoldForTheNextStage) {
  StartWith("");
  Reload("staging { require_digest: true }", "reloaded settings=staging.require_digest");
  const CommandResult staged = ctl_.Run({"stage", "model", "--wait"});
  EXPECT_NE(staged.exit_code, kExitOk);
  EXPECT_THAT(staged.err, HasSubstr("digest"));
}

TEST_F(ReloadTest, WhatMayNotChangeIsNamedAndNothingElseChanges) {
  StartWith("staging { jobs_max: 2 }");
  Reload("staging { jobs_max: 3 require_digest: true } cuda { enabled: OFF }", "reload_refused");
  EXPECT_THAT(
      daemon_->log(),
      AllOf(HasSubstr("staging.jobs_max, cuda.enabled may not change while the daemon runs"),
            HasSubstr("nothing was changed")));
  Stage("model");
}

TEST_F(ReloadTest, FileWithAnErrorChangesNothing) {
  StartWith("");
  Reload("rooot: \"x\"", "reload_refused");
  EXPECT_THAT(daemon_->log(), HasSubstr(path_ + ":1:"));
  std::filesystem::remove(path_);
  const size_t before = Count("reload_refused");
  daemon_->Signal(SIGHUP);
  EXPECT_TRUE(WaitUntil([&] { return Count("reload_refused") > before; }));
  Stage("model");
  StopCleanly();
}

// A FIFO stands for a file on a volume that hangs: opening it does not return.
TEST_F(ReloadTest, FileThatDoesNotAnswerIsGivenUpAndSigtermStillEndsIt) {
  StartWith("");
  std::filesystem::remove(path_);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  daemon_->Signal(SIGHUP);
  ASSERT_TRUE(WaitUntil([&] { return Count("reload_refused") > 0; })) << daemon_->log();
  EXPECT_THAT(daemon_->log(), HasSubstr("read the configuration: no answer within 1s"));
  Stage("model");
  StopCleanly();
}

TEST_F(ReloadTest, FlagsStayOnTopOfTheFile) {
  StartWith("", {"--staging.require-digest", "false"});
  Reload("staging { require_digest: true }", "reloaded settings=");
  Stage("model");
}

}  // namespace
}  // namespace weightd::testing
