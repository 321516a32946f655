// Files of the daemon's own on a FUSE mount whose server falls silent: it serves without them, and
// nothing of it is left when it was told to stop, though what asks the server cannot be ended.

#include <signal.h>
#include <sys/mount.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/volume_call.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/checkpoints/tensors_writer.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/wait_until.h"
#include "tests/support/storage/fuse_volume.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// drain_grace_ms and the four seconds that README promises, and some for a machine that is busy.
constexpr absl::Duration kStopPatience = absl::Seconds(8);

class OwnFilesTest : public DaemonTest {
 protected:
  void SetUp() override {
    if (VolumeHelperPid() == 0) GTEST_SKIP() << "no helpers in this build";
    auto fuse = FuseVolume::Mount({{"config", absl::StrCat("root: \"", root_, "\"\n")},
                                   {"key", std::string(32, 'k')},
                                   {"log", ""},
                                   {"node-features", ""},
                                   {"state", "{\"format\":1}"}});
    if (!fuse.ok()) GTEST_SKIP() << fuse.status();
    fuse_ = *std::move(fuse);
    MakeModel("model", 1 << 20);
    MakeModel("other", 1 << 20);
  }
  // Where it hangs after that.
  std::string OnVolume(const char* name) const { return absl::StrCat(fuse_->root(), "/", name); }
  void StartAndHang(std::vector<std::string> flags) {
    flags.insert(flags.end(), {"--drain-grace-ms", "500"});
    ASSERT_NE(Start(flags), nullptr);
    Stage("model");
    fuse_->HangLookups();
  }
  // What does not need the file goes on; SIGTERM ends all of it in time, and the next may begin.
  void ServesAndEnds() {
    Stage("other");
    EXPECT_EQ(ctl_.Run({"health"}).exit_code, kExitOk);
    daemon_->Signal(SIGTERM);
    EXPECT_EQ(daemon_->WaitForExit(kStopPatience), std::optional(0)) << daemon_->log();
    DaemonProcess next({.root = root_, .socket_dir = socket_dir_, .flags = {}});
    EXPECT_TRUE(next.WaitUntilServing()) << next.log();
  }

  std::unique_ptr<FuseVolume> fuse_;
};

TEST_F(OwnFilesTest, StateFile) {
  state_file_ = OnVolume("state");
  StartAndHang({});
  ctl_.Run({"pin", "model"});
  ServesAndEnds();
}

TEST_F(OwnFilesTest, StateFileThatHangsAtTheStart) {
  state_file_ = OnVolume("state");
  fuse_->HangLookups();
  Start({"--drain-grace-ms", "500"});
  ServesAndEnds();
  EXPECT_THAT(daemon_->log(), HasSubstr("no answer within 5s"));
}

TEST_F(OwnFilesTest, NodeFeaturesFile) {
  StartAndHang({"--node-features-file", OnVolume("node-features")});
  ServesAndEnds();
}

TEST_F(OwnFilesTest, StateAndNodeFeaturesFilesTogether) {
  state_file_ = OnVolume("state");
  StartAndHang({"--node-features-file", OnVolume("node-features")});
  ctl_.Run({"pin", "model"});
  ServesAndEnds();
}

// A mount that hangs has come over it.
TEST_F(OwnFilesTest, SocketDirectory) {
  StartAndHang({});
  ASSERT_EQ(::mount(fuse_->root().c_str(), socket_dir_.c_str(), nullptr, MS_BIND, nullptr), 0);
  daemon_->Signal(SIGTERM);
  EXPECT_EQ(daemon_->WaitForExit(kStopPatience), std::optional(0)) << daemon_->log();
  EXPECT_EQ(::umount2(socket_dir_.c_str(), MNT_DETACH), 0);
}

TEST_F(OwnFilesTest, KeyFile) {
  TensorsOptions options;
  options.key = std::string(32, 'k');
  ASSERT_OK(WriteTensors(InRoot("secret.tensors"), SmallTensorSpecs(2, 4000), options));
  StartAndHang({"--encryption.key-file", OnVolume("key")});
  const auto stage = ctl_.Start({"stage", "secret", "--wait"});
  ServesAndEnds();
  EXPECT_NE(stage->WaitForExit(), std::optional(kExitOk));
}

TEST_F(OwnFilesTest, ConfigurationThatIsReadAgain) {
  StartAndHang({"--config", OnVolume("config")});
  daemon_->Signal(SIGHUP);
  EXPECT_TRUE(daemon_->WaitForLog("reload_refused")) << daemon_->log();
  daemon_->Signal(SIGHUP);  // and SIGTERM while it is read
  ServesAndEnds();
}

TEST_F(OwnFilesTest, ConfigurationThatHangsAtTheStartIsToldAndGivenUp) {
  fuse_->HangLookups();
  for (const char* flag : {"--check-config", "--cuda.enabled=OFF"}) {
    ChildProcess daemon({.argv = {DaemonProgram(), "--config", OnVolume("config"), flag,
                                  "--socket-dir", socket_dir_}});
    EXPECT_TRUE(daemon.WaitForOutput("not read yet", absl::Seconds(5)));
    EXPECT_THAT(daemon.err(), HasSubstr(OnVolume("config")));
    EXPECT_EQ(daemon.WaitForExit(absl::Seconds(20)), std::optional(1));
    EXPECT_THAT(daemon.err(), AllOf(HasSubstr("no answer within 10s"), HasSubstr("hangs")));
  }
}

TEST_F(OwnFilesTest, LogThatIsAFile) {
  ChildProcess daemon(
      {.argv = {"/bin/sh", "-c", "exec \"$0\" \"$@\" 2>>" + OnVolume("log"), DaemonProgram(),
                "--root", root_, "--socket-dir", socket_dir_, "--state-file", "", "--cuda.enabled",
                "OFF", "--drain-grace-ms", "500"}});
  ASSERT_TRUE(WaitUntil([&] { return ctl_.Run({"health"}).exit_code == kExitOk; }));
  fuse_->HangLookups();
  Stage("other");
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.WaitForExit(kStopPatience), std::optional(0));
}

}  // namespace
}  // namespace weightd::testing
