// What survives the daemon: pins, and the order of uses.

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr uint64_t kModelBytes = 4 << 20;
// Room for two models, each with what its allocation is rounded up to, and not for three.
constexpr uint64_t kBudgetBytes = 14 << 20;

class RestartTest : public DaemonTest {
 protected:
  RestartTest() {
    state_file_ = dir_.File("state/state.json");
    for (const char* name : {"a", "b", "c"}) MakeModel(name, kModelBytes);
  }
  void StartWithRoomForTwo(std::vector<std::string> flags = {}) {
    flags.insert(flags.end(), {"--host.budget-bytes", absl::StrCat(kBudgetBytes)});
    Start(std::move(flags));
  }
  void Pin(const std::string& model) const {
    const CommandResult pinned = ctl_.Run({"pin", model});
    EXPECT_EQ(pinned.exit_code, kExitOk) << pinned;
  }
  bool IsPinned(const std::string& model) const {
    const std::vector<nlohmann::json> copies = Generations(model);
    return copies.size() == 1 && copies[0]["pinned"];
  }
  std::string Warnings() const { return ctl_.Json({"status"})["warnings"].dump(); }
  bool AwaitResident(const std::vector<std::string>& models) const {
    return WaitUntil([&] { return Resident() == models; });
  }
  bool AwaitInStateFile(const std::string& text) const {
    return WaitUntil([&] {
      std::ifstream file(state_file_);
      const std::string all(std::istreambuf_iterator<char>(file), {});
      return all.find(text) != std::string::npos;
    });
  }
};

TEST_F(RestartTest, PinnedModelIsStagedAgainAndStaysPinned) {
  Start();
  Stage("a");
  Stage("b");
  Pin("b");
  StopCleanly();
  Start();
  EXPECT_TRUE(AwaitResident({"b"}));
  EXPECT_TRUE(IsPinned("b"));
  EXPECT_EQ(ctl_.Run({"evict", "b"}).exit_code, kExitNotReady);
  EXPECT_EQ(ctl_.Run({"unpin", "b"}).exit_code, kExitOk);
  StopCleanly();
  Start();
  EXPECT_THAT(Resident(), IsEmpty());
  StopCleanly();
}

TEST_F(RestartTest, PinSurvivesKillMinusNine) {
  Start();
  Stage("a");
  Pin("a");
  EXPECT_TRUE(AwaitInStateFile("\"a\""));
  daemon_->Kill();
  Start();
  EXPECT_TRUE(AwaitResident({"a"}));
  EXPECT_TRUE(IsPinned("a"));
  StopCleanly();
}

// It was deleted meanwhile: said, and the wish stays until it is taken back.
TEST_F(RestartTest, PinOfAModelThatIsGoneIsAnEventAndStays) {
  Start();
  Stage("a");
  Pin("a");
  StopCleanly();
  const std::string kept = dir_.File("kept");
  fs::rename(InRoot("a.safetensors"), kept);
  Start();
  EXPECT_EQ(EventsUntil("STAGE_FAILED").back()["model"], "a");
  StopCleanly();
  fs::rename(kept, InRoot("a.safetensors"));
  Start();
  EXPECT_TRUE(AwaitResident({"a"}));
  EXPECT_TRUE(IsPinned("a"));
  StopCleanly();
}

// After the restart "b" is staged last, and "a" was used last before it.
TEST_F(RestartTest, LeastRecentlyUsedBeforeTheRestartGoesFirst) {
  StartWithRoomForTwo();
  Stage("b");
  Stage("a");
  ExpectSameAsFiles("a", {InRoot("a.safetensors")});
  StopCleanly();
  StartWithRoomForTwo({"--preload", "a", "--preload", "b", "--staging.jobs-max", "1"});
  EXPECT_TRUE(AwaitResident({"a", "b"}));
  Stage("c");
  EXPECT_THAT(Resident(), ElementsAre("a", "c"));
  StopCleanly();
}

class BadStateFileTest : public RestartTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(BadStateFileTest, IsAWarningAndIsWrittenAnew) {
  fs::create_directory(dir_.File("state"));
  std::ofstream(state_file_) << GetParam();
  Start();
  EXPECT_TRUE(daemon_->WaitForLog("pins and last uses are lost"));
  EXPECT_THAT(Warnings(), AllOf(HasSubstr("pins and last uses are lost"), HasSubstr(state_file_)));
  Stage("a");
  Pin("a");
  StopCleanly();
  Start();
  EXPECT_THAT(Warnings(), Not(HasSubstr("are lost")));
  EXPECT_TRUE(AwaitResident({"a"}));
  StopCleanly();
}

INSTANTIATE_TEST_SUITE_P(All, BadStateFileTest,
                         ::testing::Values("", "no JSON", "{\"format\": 1, \"pins\": [{",
                                           "{\"format\": 99}", "\xff\xfe\x00"));

// No pin was made yet: who looks at the log or the status before that learns it.
TEST_F(RestartTest, StateThatCannotBeWrittenIsSaidAtTheStart) {
  std::ofstream(dir_.File("state")) << "a file where the directory should be";
  Start({"--metrics.address", "127.0.0.1:0"});
  EXPECT_TRUE(daemon_->WaitForLog("state_not_saved"));
  EXPECT_THAT(daemon_->log(), HasSubstr(state_file_));
  const CommandResult status = ctl_.Run({"status"});
  EXPECT_THAT(status.out, AllOf(HasSubstr("not kept over a restart: " + state_file_ +
                                          " is not written since 20"),
                                HasSubstr("pins will not be kept over a restart: ")));
  const nlohmann::json seen = ctl_.Json({"status"});
  EXPECT_THAT(seen["state"]["error"].get<std::string>(), HasSubstr(state_file_));
  EXPECT_TRUE(seen["state"].contains("failing_since"));
  EXPECT_THAT(seen["warnings"].dump(), HasSubstr("\"STATE_NOT_SAVED\""));
  EXPECT_THAT(ctl_.Run({"doctor", "--no-reads"}).out,
              AllOf(HasSubstr("pins will not be kept over a restart"), HasSubstr("--state-file")));
  EXPECT_EQ(MetricOf("weightd_state_file_failing"), 1);
  StopCleanly();
}

TEST_F(RestartTest, PinThatCannotBeKeptSaysSoUntilTheDirectoryIsThere) {
  std::ofstream(dir_.File("state")) << "a file where the directory should be";
  Start({"--metrics.address", "127.0.0.1:0"});
  Stage("a");
  for (const char* verb : {"pin", "unpin", "pin"}) {
    const CommandResult done = ctl_.Run({verb, "a"});
    EXPECT_EQ(done.exit_code, kExitOk) << done;
    EXPECT_THAT(done.err, AllOf(HasSubstr("not kept over a restart"), HasSubstr(state_file_)));
    const nlohmann::json answer = ctl_.Json({verb, "a"});
    EXPECT_EQ(answer["kept"], false);
    EXPECT_THAT(answer["not_kept"].get<std::string>(), HasSubstr(state_file_));
  }
  EXPECT_TRUE(IsPinned("a"));
  EXPECT_THAT(ctl_.Run({"stage", "b", "--wait", "--pin"}).err,
              HasSubstr("not kept over a restart"));
  fs::remove(dir_.File("state"));
  const CommandResult pinned = ctl_.Run({"pin", "a"});
  EXPECT_EQ(pinned.err, "") << "it is written when somebody asks for it";
  EXPECT_TRUE(daemon_->WaitForLog("state_saved"));
  EXPECT_EQ(ctl_.Json({"pin", "a"})["kept"], true);
  EXPECT_THAT(ctl_.Run({"status"}).out, HasSubstr("kept in " + state_file_));
  EXPECT_EQ(MetricOf("weightd_state_file_failing"), 0);
  daemon_->Kill();
  Start();
  EXPECT_TRUE(AwaitResident({"a", "b"}));
  StopCleanly();
}

TEST_F(RestartTest, PinOfADaemonWithoutAStateFileIsNoWarning) {
  state_file_ = "";
  Start();
  Stage("a");
  const nlohmann::json answer = ctl_.Json({"pin", "a"});
  EXPECT_EQ(answer["kept"], false);
  EXPECT_EQ(answer["not_kept"], "");
  EXPECT_EQ(ctl_.Run({"pin", "a"}).err, "");
  StopCleanly();
}

// A FIFO that nobody reads stands for a volume that does not answer: its open never returns.
// Each would write over the pins of the other.
TEST_F(RestartTest, ASecondDaemonWithTheStateFileKeepsNothingAndSaysWhoDoes) {
  Start();
  Stage("a");
  Pin("a");
  EXPECT_TRUE(AwaitInStateFile("\"a\""));
  StopCleanly();
  Start();  // with a file that is there
  DaemonSetup setup;
  setup.root = root_;
  setup.socket_dir = dir_.File("second");
  setup.state_file = state_file_;
  DaemonProcess second(setup);
  ASSERT_TRUE(second.WaitUntilServing());
  const Weightctl ctl(setup.socket_dir);
  EXPECT_THAT(ctl.Json({"status"})["state"]["error"],
              AllOf(HasSubstr(state_file_ + " is kept by another weightd"),
                    HasSubstr(absl::StrCat("pid ", daemon_->pid(), ", sockets in ", socket_dir_))));
  EXPECT_THAT(ctl.Json({"status"})["warnings"].dump(), HasSubstr("STATE_NOT_SAVED"));
  EXPECT_THAT(second.log(), HasSubstr("state_not_saved detail=\"state file"));
  EXPECT_EQ(ctl.Run({"stage", "b", "--wait"}).exit_code, kExitOk);
  const CommandResult pinned = ctl.Run({"pin", "b"});
  EXPECT_EQ(pinned.exit_code, kExitOk) << pinned;
  EXPECT_THAT(pinned.err, HasSubstr("not kept over a restart"));
  EXPECT_EQ(second.Stop(), std::optional(0));
  EXPECT_TRUE(AwaitInStateFile("\"a\"")) << "the first one's pin";
  // A daemon that was killed holds nothing.
  daemon_->Kill();
  Start();
  EXPECT_TRUE(AwaitResident({"a"}));
  EXPECT_THAT(Warnings(), Not(HasSubstr("STATE_")));
}

TEST_F(RestartTest, AStateFileThatIsADirectoryIsSaidBeforeAnybodyPins) {
  fs::create_directories(state_file_);
  Start();
  EXPECT_THAT(Warnings(),
              AllOf(HasSubstr("STATE_NOT_SAVED"), HasSubstr("is a directory"),
                    HasSubstr(state_file_ + "/state.json"), Not(HasSubstr("written anew"))));
}

class HungStateFileTest : public RestartTest {
 protected:
  HungStateFileTest() { fs::create_directory(dir_.File("state")); }
};

TEST_F(HungStateFileTest, WritingThatHangsHoldsUpNeitherPinsNorTheDrain) {
  ASSERT_EQ(0, ::mkfifo(dir_.File("state/.state.json.new").c_str(), 0600));
  Start();
  Stage("a");
  const absl::Time start = absl::Now();
  for (int i = 0; i < 20; ++i) {
    const CommandResult pinned = ctl_.Run({"pin", "a"});
    EXPECT_EQ(pinned.exit_code, kExitOk) << pinned;
    EXPECT_THAT(pinned.err, AllOf(HasSubstr("not kept"), HasSubstr("does not answer")));
  }
  // One of them waited; those after it knew.
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  EXPECT_TRUE(WaitUntil([&] { return Warnings().find("STATE_NOT_SAVED") != std::string::npos; }));
  const absl::Time stop = absl::Now();
  StopCleanly();
  EXPECT_LT(absl::Now() - stop, absl::Seconds(10));
  EXPECT_THAT(daemon_->log(), HasSubstr("state_not_saved"));
}

// What it holds is not known: it is not written over, and a later start has the pins.
TEST_F(HungStateFileTest, FileThatCannotBeReadHoldsUpNoStartAndIsLeftAlone) {
  ASSERT_EQ(0, ::mkfifo(state_file_.c_str(), 0600));
  Start();
  EXPECT_THAT(Warnings(), AllOf(HasSubstr("STATE_LOST"), HasSubstr(state_file_)));
  Stage("a");
  const CommandResult pinned = ctl_.Run({"pin", "a"});
  EXPECT_EQ(pinned.exit_code, kExitOk) << pinned;
  EXPECT_THAT(pinned.err, AllOf(HasSubstr("not kept"), HasSubstr("start weightd again")));
  StopCleanly();
  EXPECT_TRUE(fs::is_fifo(state_file_));
}

// More than staging.queue_max: that is for clients.
class ManyWishesTest : public RestartTest {
 protected:
  ManyWishesTest() {
    for (int i = 0; i < kCount; ++i) {
      models_.push_back(absl::StrCat("lora", i));
      MakeModel(models_.back(), 4096);
    }
    std::sort(models_.begin(), models_.end());
  }

  static constexpr int kCount = 30;
  const std::vector<std::string> flags_ = {"--staging.queue-max", "2", "--staging.jobs-max", "1"};
  std::vector<std::string> models_;
};

TEST_F(ManyWishesTest, PinsBeyondTheQueueAreStagedAgain) {
  Start(flags_);
  for (const std::string& model : models_) {
    EXPECT_EQ(ctl_.Run({"stage", model, "--wait", "--pin"}).exit_code, kExitOk) << model;
  }
  StopCleanly();
  Start(flags_);
  EXPECT_TRUE(AwaitResident(models_));
  EXPECT_THAT(daemon_->log(), Not(HasSubstr("refused")));
  StopCleanly();
}

TEST_F(ManyWishesTest, PreloadsBeyondTheQueueWaitAndAreShownAndClientsGoFirst) {
  std::vector<std::string> flags = flags_;
  flags.insert(flags.end(), {"--storage.engine", "PREAD", "--preload", "a"});
  for (const std::string& model : models_) flags.insert(flags.end(), {"--preload", model});
  const HeldRead held(dir_, "/a.safetensors", kModelBytes / 2);
  Start(flags, held.environment());
  ASSERT_TRUE(held.WaitUntilReached());
  const auto count = [this](const char* state) {
    const nlohmann::json status = ctl_.Json({"status"});
    return std::count_if(status["preloads"].begin(), status["preloads"].end(),
                         [&](const nlohmann::json& preload) { return preload["state"] == state; });
  };
  // The first may be planned before it is known for one of its volume; another, known by then, has
  // that volume's place meanwhile.
  EXPECT_TRUE(WaitUntil([&] {
    return count("PRELOAD_QUEUED") + count("PRELOAD_RESIDENT") == kCount;
  })) << ctl_.Json({"status"})["preloads"];
  EXPECT_LE(count("PRELOAD_RESIDENT"), 1);
  // They take no operator's place.
  EXPECT_EQ(ctl_.Run({"stage", "b"}).exit_code, kExitOk);
  held.Release();
  EXPECT_TRUE(WaitUntil([&] { return ctl_.Run({"health", "--staged"}).exit_code == kExitOk; }));
  EXPECT_THAT(daemon_->log(), Not(HasSubstr("refused")));
  StopCleanly();
}

TEST_F(RestartTest, StatusNamesTheFile) {
  Start();
  EXPECT_EQ(ctl_.Json({"status"})["state_file"], state_file_);
  StopCleanly();
}

}  // namespace
}  // namespace weightd::testing
