// `weightctl doctor` with a daemon, and without.

#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/process/has_uring.h"
#include "tests/support/process/programs.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class DoctorTest : public DaemonTest {
 protected:
  // The check of that name; null for none. Sets exit_code_.
  nlohmann::json Check(const std::string& name) {
    const CommandResult result = ctl_.Run({"doctor", "-o", "json"});
    exit_code_ = result.exit_code;
    const auto answer = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    EXPECT_FALSE(answer.is_discarded()) << result;
    for (const nlohmann::json& check : answer.value("checks", nlohmann::json::array())) {
      if (check["check"] == name) return check;
    }
    return nullptr;
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
                                HasSubstr("join gid 0")));
}

TEST_F(DoctorTest, WhoMayNotOperateLearnsThatAndGetsTheRest) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: it takes root to be somebody else";
  Start({"--access.attach-uid", "65534"});
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  ASSERT_EQ(::chown(socket_dir_.c_str(), 0, kNobody), 0);
  ASSERT_EQ(::chown((socket_dir_ + "/weightd.sock").c_str(), 0, kNobody), 0);
  ASSERT_EQ(::chown((socket_dir_ + "/handles.sock").c_str(), 0, kNobody), 0);
  const CommandResult result = ctl_.RunAs(kNobody, kNobody, {"doctor"});
  EXPECT_EQ(result.exit_code, kExitOk) << result;
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("warn  daemon's side"), HasSubstr("--access.operate-uid 65534")));
}

TEST_F(DoctorTest, AnotherPidNamespaceIsTold) {
  if (::geteuid() != 0) GTEST_SKIP() << "skipped: it takes root to make a PID namespace";
  Start();
  ChildOptions options;
  options.argv = {WeightctlProgram(), "--socket-dir", socket_dir_, "doctor"};
  options.new_pid_namespace = true;
  ChildProcess child(options);
  child.CloseInput();
  EXPECT_EQ(child.WaitForExit(), std::optional(kExitOk)) << child.err();
  // /proc still is that of the namespace outside, or shows nothing of ours.
  EXPECT_THAT(child.out(), ::testing::AnyOf(HasSubstr("another one than the daemon's"),
                                            HasSubstr("/proc does not show it")));
}

}  // namespace
}  // namespace weightd::testing
