// What the process that starts weightd left to it: closed descriptors, a limit on file sizes.

#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/socket_paths.h"
#include "common/unique_fd.h"
#include "common/unix_socket.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/limited_process.h"
#include "tests/support/common/read_file.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/shell.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ProcessLimitsTest : public DaemonTest {
 protected:
  // weightd as `script` starts it; whether it came to serve.
  bool StartInShell(const std::string& script, const std::vector<std::string>& flags) {
    std::vector<std::string> command = {DaemonProgram(), "--root", root_, "--socket-dir",
                                        socket_dir_};
    command.insert(command.end(), flags.begin(), flags.end());
    child_ = std::make_unique<ChildProcess>(InShell(script, command));
    return WaitUntil([&] { return ctl_.Run({"health"}).exit_code == kExitOk; });
  }
  std::string Descriptor(int fd) const {
    return std::filesystem::read_symlink(absl::StrCat("/proc/", child_->pid(), "/fd/", fd));
  }
  void ExpectToEndWell() {
    child_->Signal(SIGTERM);
    EXPECT_EQ(child_->WaitForExit(), std::optional(0)) << child_->err();
  }
  std::unique_ptr<ChildProcess> child_;
};

// Else the socket or a file of the daemon is what its log is written to.
TEST_F(ProcessLimitsTest, ClosedDescriptorsAreNobodys) {
  const std::string file = MakeModel("model", 1 << 20);
  ASSERT_TRUE(StartInShell("exec \"$@\" <&- >&- 2>&-", {"--state-file", dir_.File("state")}));
  for (const int fd : {0, 1, 2}) EXPECT_EQ(Descriptor(fd), "/dev/null") << fd;
  Stage("model");
  ExpectSameAsFiles("model", {file});
  EXPECT_EQ(ctl_.Run({"pin", "model"}).exit_code, kExitOk);
  ExpectToEndWell();
  EXPECT_THAT(ReadFile(dir_.File("state")), HasSubstr("model"));
}

// SIGXFSZ ends who does not ignore it. Blocks are of 512 bytes.
TEST_F(ProcessLimitsTest, LimitOnFileSizesFailsAStageAndNotTheDaemon) {
  MakeModel("small", 64 << 10);
  MakeModel("large", 8 << 20);
  ASSERT_TRUE(StartInShell("ulimit -f 8192; exec \"$@\"", {"--state-file", dir_.File("state")}));
  Stage("small");
  const std::unique_ptr<AttachProbe> probe = Attach("small");
  const CommandResult staged = ctl_.Run({"stage", "large", "--wait"});
  EXPECT_NE(staged.exit_code, kExitOk);
  EXPECT_THAT(staged.err, AllOf(HasSubstr("bytes"), HasSubstr("4194304"), HasSubstr("ulimit -f")));
  EXPECT_EQ(LeaseCount(), 1);
  EXPECT_EQ(probe->Leave(), std::optional(0));
  ExpectToEndWell();
}

// Nothing at all can be written: neither the log, nor the state, nor the labels of the node.
TEST_F(ProcessLimitsTest, FilesOfItsOwnThatCannotGrowAreToldAndEndNothing) {
  MakeModel("model", 1 << 20);
  const std::string log = dir_.File("log");
  ASSERT_TRUE(StartInShell(
      "ulimit -f 0; exec \"$@\" 2>" + log,
      {"--state-file", dir_.File("state"), "--node-features-file", dir_.File("features")}));
  const CommandResult staged = ctl_.Run({"stage", "model", "--wait"});
  EXPECT_NE(staged.exit_code, kExitOk) << staged;
  EXPECT_THAT(staged.err, HasSubstr("ulimit -f"));
  const nlohmann::json status = ctl_.Json({"status"});
  EXPECT_THAT(status["state"].dump() + status["warnings"].dump(), HasSubstr("ulimit -f"));
  EXPECT_EQ(ReadFile(log), "");
  ExpectToEndWell();
}

TEST_F(ProcessLimitsTest, TooFewDescriptorsAreRefusedAtTheStart) {
  for (const char* few : {"24", "255"}) {
    const CommandResult refused =
        RunInShell(absl::StrCat("ulimit -n ", few, "; exec \"$@\""),
                   {DaemonProgram(), "--root", root_, "--socket-dir", socket_dir_});
    EXPECT_EQ(refused.exit_code, 1) << refused;
    EXPECT_THAT(refused.err, AllOf(HasSubstr(absl::StrCat("weightd may have ", few)),
                                   HasSubstr("wanted 256"), HasSubstr("LimitNOFILE=")));
  }
}

// What one user may have of few descriptors leaves others theirs.
TEST_F(ProcessLimitsTest, WithTheFewestDescriptorsAFloodKeepsNobodyOut) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to run clients as another user";
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  MakeModel("model", 1 << 20);
  ASSERT_TRUE(StartInShell("ulimit -n 256; exec \"$@\"",
                           {"--access.attach-uid", "0", "--access.attach-uid",
                            absl::StrCat(kNobody), "--access.operate-uid", absl::StrCat(kNobody)}));
  std::vector<UniqueFd> flood;
  for (int i = 0; i < 100; ++i) {
    auto connection =
        ConnectUnixSocket(RpcSocketPath(socket_dir_), SOCK_STREAM, absl::Now() + kPatience);
    ASSERT_OK(connection);
    flood.push_back(*std::move(connection));
  }
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"health"}, {"stage", "model", "--wait"}, {"ps"}}) {
    const CommandResult done = ctl_.RunAs(kNobody, kOurGroup, command);
    EXPECT_EQ(done.exit_code, kExitOk) << command[0] << ": " << done;
  }
  const CommandResult ours = ctl_.Run({"health"});
  EXPECT_NE(ours.exit_code, kExitOk);
  EXPECT_THAT(ours.err, HasSubstr("limits.connections_per_uid_max"));
  flood.clear();
  ExpectToEndWell();
}

// Each thread that takes memory would reserve 64 MiB of it, and its stack 8.
TEST_F(ProcessLimitsTest, LittleAddressSpaceIsEnoughForClients) {
  if (kHasShadowMemory) GTEST_SKIP() << "not with a sanitizer";
  const std::string file = MakeModel("model", 64 << 20);
  ASSERT_TRUE(StartInShell("ulimit -v 1048576; exec \"$@\"", {}));
  // A GiB less what is the daemon's.
  EXPECT_EQ(DeviceStatus()["budget_bytes"], 256 << 20);
  Stage("model");
  std::vector<std::unique_ptr<AttachProbe>> probes;
  for (int i = 0; i < 8; ++i) probes.push_back(Attach("model", {file}));
  EXPECT_EQ(LeaseCount(), 8);
  for (const auto& probe : probes) EXPECT_EQ(probe->Leave(), std::optional(0));
  ExpectToEndWell();
}

TEST_F(ProcessLimitsTest, TooLittleAddressSpaceIsRefusedAtTheStart) {
  if (kHasShadowMemory) GTEST_SKIP() << "not with a sanitizer";
  const CommandResult little =
      RunInShell("ulimit -v 700000; exec \"$@\"",
                 {DaemonProgram(), "--root", root_, "--socket-dir", socket_dir_});
  EXPECT_EQ(little.exit_code, 1) << little;
  EXPECT_THAT(little.err,
              AllOf(HasSubstr("716.8 MB (RLIMIT_AS), wanted 805.3 MB"), HasSubstr("ulimit -v")));
  const CommandResult budget = RunInShell("ulimit -v 1048576; exec \"$@\"",
                                          {DaemonProgram(), "--root", root_, "--socket-dir",
                                           socket_dir_, "--host.budget-bytes", "300000000"});
  EXPECT_EQ(budget.exit_code, 1) << budget;
  EXPECT_THAT(budget.err, AllOf(HasSubstr("host.budget_bytes: 300.0 MB"),
                                HasSubstr("268.4 MB are left to models")));
}

}  // namespace
}  // namespace weightd::testing
