// What survives the daemon: pins, and the order of uses.

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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

TEST_F(RestartTest, StateThatCannotBeWrittenIsSaidAndHoldsUpNothing) {
  std::ofstream(dir_.File("state")) << "a file where the directory should be";
  Start();
  Stage("a");
  Pin("a");
  EXPECT_TRUE(daemon_->WaitForLog("state_not_saved"));
  EXPECT_THAT(daemon_->log(), HasSubstr(state_file_));
  EXPECT_TRUE(IsPinned("a"));
  StopCleanly();
}

TEST_F(RestartTest, StatusNamesTheFile) {
  Start();
  EXPECT_EQ(ctl_.Json({"status"})["state_file"], state_file_);
  StopCleanly();
}

}  // namespace
}  // namespace weightd::testing
