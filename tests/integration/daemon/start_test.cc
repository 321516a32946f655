// How the daemon starts, and how it refuses to.

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/grpc_calls.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kDaemonExitError = 1;
constexpr int kDaemonExitUsage = 2;

class StartTest : public DaemonTest {
 protected:
  // A start that is refused: its exit status and what it said.
  struct Refusal {
    int exit_code = 0;
    std::string log;
  };
  Refusal Refuse(const std::vector<std::string>& flags) const {
    DaemonProcess daemon({.root = "", .socket_dir = socket_dir_, .flags = flags});
    const int code = daemon.WaitForExit().value_or(-1);
    return {.exit_code = code, .log = daemon.log()};
  }
  std::string ConfigFile(const std::string& text) const {
    std::string path = dir_.File("weightd.textproto");
    EXPECT_OK(WriteRawFile(path, text));
    return path;
  }
};

TEST_F(StartTest, ServesByConfigurationFileAndFlagsOverrideIt) {
  MakeModel("model", 1 << 20);
  const std::string config = ConfigFile("root: \"" + root_ +
                                        "\"\n"
                                        "storage { engine: URING }\n"
                                        "host { budget_bytes: 123456789 }\n");
  DaemonProcess daemon({.root = "",
                        .socket_dir = socket_dir_,
                        .flags = {"--config", config, "--storage.engine", "PREAD"}});
  ASSERT_TRUE(daemon.WaitUntilServing()) << daemon.log();
  const nlohmann::json status = ctl_.Json({"status"});
  EXPECT_EQ(status["storage"]["engine"], "pread");
  EXPECT_EQ(status["devices"][0]["budget_bytes"], 123456789);
  EXPECT_EQ(status["socket_dir"], socket_dir_);
  EXPECT_EQ(status["pid"], daemon.pid());
  EXPECT_EQ(daemon.Stop(), std::optional(0));
}

TEST_F(StartTest, UnknownFieldOfTheConfigurationHasItsPlace) {
  const std::string config = ConfigFile("root: \"/models\"\n\n  rooot: \"/other\"\n");
  const Refusal refusal = Refuse({"--config", config});
  EXPECT_EQ(refusal.exit_code, kDaemonExitUsage);
  EXPECT_THAT(refusal.log, AllOf(HasSubstr(config + ":3:"), HasSubstr("rooot")));
}

TEST_F(StartTest, WrongTypeInTheConfigurationHasItsPlace) {
  const std::string config = ConfigFile("root: \"/models\"\nhost { budget_bytes: \"much\" }\n");
  const Refusal refusal = Refuse({"--config", config});
  EXPECT_EQ(refusal.exit_code, kDaemonExitUsage);
  EXPECT_THAT(refusal.log, HasSubstr(config + ":2:"));
}

// What it checks is what a start checks before it touches anything.
TEST_F(StartTest, CheckConfigSaysWhetherItIsRightAndStartsNothing) {
  const Refusal right = Refuse({"--config", ConfigFile("root: \"/nowhere\"\n"), "--check-config"});
  EXPECT_EQ(right.exit_code, 0);
  EXPECT_EQ(right.log, "");
  EXPECT_THAT(FileNames(socket_dir_), IsEmpty());
  const std::string config = ConfigFile("root: \"/nowhere\"\nhost { budget_bytes: \"much\" }\n");
  const Refusal wrong = Refuse({"--config", config, "--check-config"});
  EXPECT_EQ(wrong.exit_code, kDaemonExitUsage);
  EXPECT_THAT(wrong.log, HasSubstr(config + ":2:"));
  EXPECT_EQ(Refuse({"--root", root_, "--no-such-flag", "--check-config"}).exit_code,
            kDaemonExitUsage);
}

// The next flag is not the empty value.
TEST_F(StartTest, FlagMayHaveAnEmptyValue) {
  const Refusal right = Refuse({"--root", "/nowhere", "--state-file=", "--check-config"});
  EXPECT_EQ(right.exit_code, 0) << right.log;
}

TEST_F(StartTest, MissingConfigurationIsRefused) {
  const Refusal refusal = Refuse({"--config", dir_.File("nowhere")});
  EXPECT_EQ(refusal.exit_code, kDaemonExitUsage);
  EXPECT_THAT(refusal.log, AllOf(HasSubstr("nowhere"), HasSubstr("No such file")));
}

TEST_F(StartTest, UnknownFlagIsRefused) {
  const Refusal refusal = Refuse({"--root", root_, "--no-such-flag"});
  EXPECT_EQ(refusal.exit_code, kDaemonExitUsage);
  EXPECT_THAT(refusal.log, HasSubstr("--no-such-flag"));
}

TEST_F(StartTest, ValueOutOfItsRangeIsRefused) {
  const Refusal refusal = Refuse({"--root", root_, "--staging.block-bytes", "5000"});
  EXPECT_EQ(refusal.exit_code, kDaemonExitUsage);
  EXPECT_THAT(refusal.log, AllOf(HasSubstr("block_bytes is 5000"), HasSubstr("2 MiB")));
}

TEST_F(StartTest, NoRootIsAUsageError) {
  const Refusal refusal = Refuse({});
  EXPECT_EQ(refusal.exit_code, kDaemonExitUsage);
  EXPECT_THAT(refusal.log, HasSubstr("no root"));
}

TEST_F(StartTest, MissingRootIsToldAndTheOthersAreServed) {
  MakeModel("model", 1 << 20);
  Start({"--root", dir_.File("nowhere")});
  EXPECT_THAT(ctl_.Run({"status"}).out,
              AllOf(HasSubstr(dir_.File("nowhere")), HasSubstr("No such file")));
  Stage("model");
  StopCleanly();
}

TEST_F(StartTest, SocketDirectoryInUseIsRefusedAndTheFirstDaemonGoesOn) {
  MakeModel("model", 1 << 20);
  Start();
  const Refusal refusal = Refuse({"--root", root_});
  EXPECT_EQ(refusal.exit_code, kDaemonExitError);
  EXPECT_THAT(refusal.log, AllOf(HasSubstr(socket_dir_), HasSubstr("in use")));
  EXPECT_EQ(ctl_.Run({"health"}).exit_code, kExitOk);
  Stage("model");
  StopCleanly();
}

TEST_F(StartTest, StaleSocketsAreReplaced) {
  Start();
  daemon_->Kill();
  EXPECT_THAT(FileNames(socket_dir_), ElementsAre("handles.sock", "weightd.lock", "weightd.sock"));
  EXPECT_EQ(ctl_.Run({"health"}).exit_code, kExitUnreachable);
  Start();
  EXPECT_EQ(ctl_.Run({"health"}).exit_code, kExitOk);
  StopCleanly();
}

// Somebody tidies up /run: the daemon is found again, by those whom the sockets were given to.
TEST_F(StartTest, SocketsThatAreRemovedComeBack) {
  MakeModel("model", 1 << 20);
  Start();
  Stage("model");
  const auto holder = Attach("model");
  ASSERT_EQ(::chmod((socket_dir_ + "/weightd.sock").c_str(), 0600), 0);
  for (const std::vector<const char*>& removed : std::vector<std::vector<const char*>>{
           {"weightd.sock"}, {"handles.sock"}, {"weightd.sock", "handles.sock", "weightd.lock"}}) {
    for (const char* name : removed) std::filesystem::remove(socket_dir_ + "/" + name);
    EXPECT_TRUE(WaitUntil([&] { return FileNames(socket_dir_).size() == 3; }));
    EXPECT_TRUE(WaitUntil([&] { return ctl_.Run({"health"}).exit_code == kExitOk; }));
    EXPECT_EQ(Attach("model")->Leave(), std::optional(0));
  }
  EXPECT_EQ(std::filesystem::status(socket_dir_ + "/weightd.sock").permissions(),
            std::filesystem::perms(0600));
  EXPECT_THAT(daemon_->log(), HasSubstr("socket_restored path=" + socket_dir_ + "/weightd.sock"));
  EXPECT_EQ(Refuse({"--root", root_}).exit_code, kDaemonExitError) << "it has the lock again";
  EXPECT_EQ(holder->Leave(), std::optional(0));
  StopCleanly();
  EXPECT_THAT(FileNames(socket_dir_), ElementsAre("weightd.lock"));
}

// Another daemon has the directory by then: its sockets are its.
TEST_F(StartTest, SocketsOfAnotherDaemonAreLeftToIt) {
  Start();
  const UniqueFd other(::open(dir_.File("lock").c_str(), O_CREAT | O_RDWR, 0600));
  ASSERT_EQ(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  std::filesystem::rename(dir_.File("lock"), socket_dir_ + "/weightd.lock");
  for (const char* name : {"weightd.sock", "handles.sock"}) {
    std::filesystem::rename(socket_dir_ + "/" + name, dir_.File(name));
  }
  EXPECT_TRUE(daemon_->WaitForLog("socket_lost reason=ALREADY_EXISTS")) << daemon_->log();
  EXPECT_THAT(FileNames(socket_dir_), ElementsAre("weightd.lock"));
  StopCleanly();
}

TEST_F(StartTest, FileInPlaceOfASocketIsKeptAndRefused) {
  std::filesystem::create_directory(socket_dir_);
  ASSERT_OK(WriteRawFile(socket_dir_ + "/weightd.sock", "precious"));
  const Refusal refusal = Refuse({"--root", root_});
  EXPECT_EQ(refusal.exit_code, kDaemonExitError);
  EXPECT_THAT(refusal.log, AllOf(HasSubstr("weightd.sock"), HasSubstr("not a socket")));
  EXPECT_EQ(std::filesystem::file_size(socket_dir_ + "/weightd.sock"), 8);
}

TEST_F(StartTest, DirectoryInPlaceOfASocketIsToldByDaemonAndClient) {
  std::filesystem::create_directories(socket_dir_ + "/weightd.sock");
  const Refusal refusal = Refuse({"--root", root_});
  EXPECT_EQ(refusal.exit_code, kDaemonExitError);
  EXPECT_THAT(refusal.log, HasSubstr("weightd.sock exists and is a directory, not a socket"));
  const CommandResult asked = ctl_.Run({"ls"});
  EXPECT_EQ(asked.exit_code, kExitUnreachable);
  EXPECT_THAT(asked.err, HasSubstr("something of that name is there and is no socket"));
}

TEST_F(StartTest, CleanStopRemovesTheSockets) {
  Start();
  StopCleanly();
  EXPECT_THAT(FileNames(socket_dir_), ElementsAre("weightd.lock"));
}

// Where threads run out a start is refused with the limit, wherever that happens; it never dies.
TEST_F(StartTest, TooFewThreadsAreToldWithTheirLimit) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become a user without processes";
  constexpr uint32_t kUser = 64'001;
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  bool refused = false;
  for (const int limit : {12, 28, 32, 34, 36, 38, 40, 60, 80, 100, 120, 160}) {
    const std::string run = absl::StrCat(socket_dir_, limit);
    std::filesystem::create_directory(run);
    ASSERT_EQ(::chown(run.c_str(), kUser, kUser), 0);
    ChildProcess daemon(
        {.argv = {"/bin/bash", "-c", absl::StrCat("ulimit -u ", limit, "; exec \"$0\" \"$@\""),
                  DaemonProgram(), "--root", root_, "--socket-dir", run, "--state-file", "",
                  "--cuda.enabled", "OFF", "--metrics.address", "127.0.0.1:0"},
         .uid = kUser,
         .gid = kUser});
    if (daemon.WaitForOutput(" serving ")) {
      daemon.Signal(SIGTERM);
      EXPECT_EQ(daemon.WaitForExit(), std::optional(0)) << limit << daemon.err();
      continue;
    }
    refused = true;
    EXPECT_EQ(daemon.WaitForExit(), std::optional(kDaemonExitError)) << limit << daemon.err();
    EXPECT_THAT(daemon.err(), HasSubstr(absl::StrCat("ulimit -u is ", limit)));
  }
  EXPECT_TRUE(refused);
}

TEST_F(StartTest, PreloadedModelsAreResidentAndPinnedWithoutACall) {
  const std::string first = MakeModel("first", 1 << 20, 1);
  MakeModel("second", 1 << 20, 2);
  Start({"--preload", "first", "--preload", "second", "--preload-pin", "true"});
  EXPECT_TRUE(WaitUntil([&] { return Resident().size() == 2; }));
  EXPECT_THAT(Resident(), ElementsAre("first", "second"));
  ExpectSameAsFiles("first", {first});
  EXPECT_EQ(ctl_.Run({"evict", "first"}).exit_code, kExitNotReady) << "it is pinned";
}

TEST_F(StartTest, PreloadOfAMissingModelIsToldAndTheDaemonServes) {
  Start({"--preload", "nowhere"});
  EXPECT_TRUE(daemon_->WaitForLog("no such checkpoint"));
  EXPECT_EQ(ctl_.Run({"health"}).exit_code, kExitOk);
  StopCleanly();
}

TEST_F(StartTest, ServesHealthAndReflection) {
  Start();
  const auto channel = Connect(socket_dir_);
  ASSERT_NE(channel, nullptr);
  EXPECT_EQ(CheckHealth(channel, ""), "SERVING");
  EXPECT_EQ(CheckHealth(channel, "weightd.v1.WeightCache"), "SERVING");
  EXPECT_THAT(ReflectionStream(channel).answer(),
              AllOf(HasSubstr("weightd.v1.WeightCache"), HasSubstr("grpc.health.v1.Health")));
}

// gRPC's own takes a thread for each, of which there are few for all users.
TEST_F(StartTest, AStreamOfReflectionTakesNothingFromOthers) {
  Start();
  const auto channel = Connect(socket_dir_);
  ASSERT_NE(channel, nullptr);
  std::vector<std::unique_ptr<ReflectionStream>> streams;
  for (int i = 0; i < 100; ++i) {
    streams.push_back(std::make_unique<ReflectionStream>(channel));
    ASSERT_THAT(streams.back()->answer(), HasSubstr("weightd.v1.WeightCache")) << i;
  }
}

TEST_F(StartTest, AStreamOfReflectionCountsAsACall) {
  Start({"--limits.calls-per-uid-max", "2"});
  const auto channel = Connect(socket_dir_);
  ASSERT_NE(channel, nullptr);
  std::vector<std::unique_ptr<ReflectionStream>> streams;
  for (int i = 0; i < 2; ++i) streams.push_back(std::make_unique<ReflectionStream>(channel));
  EXPECT_THAT(ReflectionStream(channel).answer(), HasSubstr("error 8: "));
  streams.clear();
  EXPECT_TRUE(WaitUntil([&] {
    return absl::StrContains(ReflectionStream(channel).answer(), "weightd.v1.WeightCache");
  }));
}

}  // namespace
}  // namespace weightd::testing
