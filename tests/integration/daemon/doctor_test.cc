// `weightctl doctor` with a daemon, and without.

#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/has_uring.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class DoctorTest : public DaemonTest {
 protected:
  // The check of that name; null for none. Sets exit_code_.
  nlohmann::json Check(const std::string& name) {
    const CommandResult result = ctl_.Run({"doctor", "-o", "json"});
    exit_code_ = result.exit_code;
    return CheckOf(result.out, name);
  }
  // Likewise, of what doctor printed. Whatever is not well there has its fix.
  static nlohmann::json CheckOf(const std::string& out, const std::string& name) {
    const auto answer = nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false);
    EXPECT_FALSE(answer.is_discarded()) << out;
    if (answer.is_discarded()) return nullptr;
    nlohmann::json found;
    for (const nlohmann::json& check : answer.value("checks", nlohmann::json::array())) {
      const bool is_well = check["result"] == "pass" || check["result"] == "skip";
      EXPECT_TRUE(is_well || check["fix"] != "") << check;
      if (check["check"] == name) found = check;
    }
    return found;
  }
  // As a caller who may attach and not operate: what doctor prints. Sets exit_code_.
  std::string RunAsNobody(bool new_pid_namespace = false) {
    const CommandResult result =
        ctl_.RunAs(kNobody, kNogroup, {"doctor", "-o", "json"}, new_pid_namespace);
    exit_code_ = result.exit_code;
    return result.out;
  }
  int exit_code_ = -1;
};

TEST_F(DoctorTest, AHealthyDaemonPasses) {
  MakeModel("model", 32 << 20);
  Start();
  const nlohmann::json root = Check("root " + root_);
  EXPECT_EQ(exit_code_, kExitOk);
  ASSERT_FALSE(root.is_null());
  EXPECT_THAT(std::string(root["found"]),
              AllOf(HasSubstr("local volume"), HasSubstr("/s with "), HasSubstr("of model")));
  EXPECT_EQ(Check("socket")["result"], "pass");
  EXPECT_EQ(Check("PID namespace")["found"], "that of the daemon");
  EXPECT_EQ(Check("io_uring")["result"], HasUring() ? "pass" : "warn");
  EXPECT_FALSE(Check("seccomp").is_null());
  EXPECT_FALSE(Check("memlock").is_null());
  EXPECT_FALSE(Check("huge pages").is_null());
  EXPECT_FALSE(Check("driver").is_null());
  EXPECT_EQ(Resident().size(), 0u) << "looking stages nothing";
  StopCleanly();
}

TEST_F(DoctorTest, WithoutADaemonItSaysWhyAndWhatToDo) {
  EXPECT_EQ(Check("daemon")["result"], "fail");
  EXPECT_EQ(exit_code_, kExitError);
  EXPECT_THAT(std::string(Check("daemon")["fix"]), HasSubstr("start weightd"));
  EXPECT_FALSE(Check("huge pages").is_null());
}

TEST_F(DoctorTest, AStaleSocketIsNamed) {
  Start();
  daemon_->Kill();
  const nlohmann::json daemon = Check("daemon");
  EXPECT_EQ(exit_code_, kExitError);
  EXPECT_THAT(std::string(daemon["found"]), HasSubstr("left behind"));
  EXPECT_THAT(std::string(daemon["fix"]), HasSubstr("look at its log"));
}

TEST_F(DoctorTest, ARootThatCannotBeReadFails) {
  Start({"--preload", "nowhere"});
  EXPECT_TRUE(daemon_->WaitForLog("no such checkpoint"));
  EXPECT_EQ(Check("root " + root_)["result"], "warn") << "it is empty";
  EXPECT_EQ(Check("preload nowhere")["result"], "fail");
  EXPECT_EQ(exit_code_, kExitError);
}

TEST_F(DoctorTest, WhoMayNotConnectLearnsWhichGroupMay) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: it takes root to be somebody else";
  Start();
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  const CommandResult result = ctl_.RunAs(kNobody, kNobody, {"doctor"});
  EXPECT_EQ(result.exit_code, kExitError);
  EXPECT_THAT(result.out, AllOf(HasSubstr("permission denied"), HasSubstr("you are uid 65534"),
                                HasSubstr("a group of its own")));
}

TEST_F(DoctorTest, WhoMayNotOperateLearnsThatAndGetsTheRest) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: it takes root to be somebody else";
  MakeModel("model", 32 << 20);
  StartForNobody();
  const std::string out = RunAsNobody();
  EXPECT_EQ(exit_code_, kExitOk) << out;
  EXPECT_EQ(CheckOf(out, "allow-lists")["result"], "skip");
  const nlohmann::json speed = CheckOf(out, "reading speed");
  EXPECT_EQ(speed["result"], "skip");
  EXPECT_THAT(std::string(speed["found"]), HasSubstr("--access.operate-uid 65534"));
  EXPECT_THAT(std::string(CheckOf(out, "root " + root_)["found"]),
              AllOf(HasSubstr("local volume"), Not(HasSubstr("/s with "))));
  EXPECT_FALSE(CheckOf(out, "driver").is_null());
  EXPECT_EQ(CheckOf(out, "io_uring")["result"], HasUring() ? "pass" : "warn");
  EXPECT_EQ(CheckOf(out, "PID namespace")["found"], "that of the daemon");
}

TEST_F(DoctorTest, AHandleSocketThatIsNotOpenToTheCallerFails) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: it takes root to be somebody else";
  StartForNobody();
  const std::string path = socket_dir_ + "/handles.sock";
  EXPECT_EQ(CheckOf(RunAsNobody(), "handle socket")["result"], "pass");
  ASSERT_EQ(::chown(path.c_str(), 0, 0), 0);
  const nlohmann::json refused = CheckOf(RunAsNobody(), "handle socket");
  EXPECT_EQ(exit_code_, kExitError);
  EXPECT_EQ(refused["result"], "fail");
  EXPECT_THAT(std::string(refused["found"]),
              AllOf(HasSubstr("mode 0660, uid 0, gid 0"), HasSubstr("permission denied"),
                    HasSubstr("you are uid 65534")));
  EXPECT_THAT(std::string(refused["fix"]), HasSubstr("group and mode of weightd.sock"));
  ASSERT_EQ(::unlink(path.c_str()), 0);
  EXPECT_THAT(std::string(Check("handle socket")["found"]), HasSubstr("No such file"));
}

TEST_F(DoctorTest, WhatTheDaemonGoesWithoutHasItsFix) {
  state_file_ = dir_.File("state");
  ASSERT_OK(WriteRawFile(state_file_, "not a state"));
  Start();
  EXPECT_EQ(Check("degraded")["result"], "warn");
  EXPECT_THAT(ctl_.Run({"doctor"}).out, AllOf(HasSubstr("pins and last uses are lost"),
                                              HasSubstr("fix: `weightctl pin MODEL`")));
}

TEST_F(DoctorTest, AnotherPidNamespaceIsTold) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: it takes root to make a PID namespace";
  StartForNobody();
  // With the /proc of the namespace outside: its links are those of the process all the same.
  const std::string out = RunAsNobody(/*new_pid_namespace=*/true);
  EXPECT_EQ(exit_code_, kExitOk) << out;
  const nlohmann::json check = CheckOf(out, "PID namespace");
  EXPECT_EQ(check["result"], "pass") << "no GPU, no CUDA IPC";
  EXPECT_EQ(check["found"], "another one than the daemon's, which matters to CUDA IPC only");
}

}  // namespace
}  // namespace weightd::testing
