// Models that change on the volume while the daemon runs.

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uint64_t kModelBytes = 1 << 20;
const std::vector<std::string> kQuick = {"--catalog.settle-ms", "20"};

std::vector<std::string> KeepFresh() {
  std::vector<std::string> flags = kQuick;
  flags.insert(flags.end(), {"--catalog.refresh", "KEEP_FRESH"});
  return flags;
}

class RefreshTest : public DaemonTest {
 protected:
  // As publishers do: written elsewhere and renamed.
  void Publish(const std::string& model, uint64_t seed) {
    const std::string made = MakeModel("../made", kModelBytes, seed);
    fs::rename(made, InRoot(model + ".safetensors"));
  }
  std::string PathOf(const std::string& model) const { return InRoot(model + ".safetensors"); }
  // A copy of what the path holds now.
  std::string Keep(const std::string& model) {
    const std::string kept = dir_.File("kept.safetensors");
    fs::copy_file(PathOf(model), kept);
    return kept;
  }
};

TEST_F(RefreshTest, ChangedModelIsStagedByItselfAndOldLeasesKeepTheirBytes) {
  Publish("model", 1);
  Start(KeepFresh());
  Stage("model");
  const std::string old_file = Keep("model");
  const uint64_t old_generation = GenerationOf("model");
  const auto old_client = Attach("model", {old_file});
  Publish("model", 2);
  EXPECT_TRUE(
      old_client->WaitForNotice(absl::StrCat("notice superseded generation=", old_generation + 1)));
  EXPECT_THAT(old_client->Compare(), StartsWith("same "));
  ExpectSameAsFiles("model", {PathOf("model")});
  EXPECT_GT(GenerationOf("model"), old_generation);
  EXPECT_EQ(old_client->Leave(), std::optional(0));
  StopCleanly();
}

TEST_F(RefreshTest, OnRequestTellsAndStagesNothing) {
  Publish("model", 1);
  Start(kQuick);
  Stage("model");
  const uint64_t generation = GenerationOf("model");
  Publish("model", 2);
  EXPECT_FALSE(EventsUntil("MODEL_CHANGED").empty());
  EXPECT_EQ(GenerationOf("model"), generation);
  EXPECT_TRUE(ctl_.Json({"ls"})["models"][0]["changed"]);
  Stage("model");
  EXPECT_GT(GenerationOf("model"), generation);
  EXPECT_FALSE(ctl_.Json({"ls"})["models"][0]["changed"]);
  StopCleanly();
}

TEST_F(RefreshTest, PreloadedModelThatComesLaterIsStaged) {
  std::vector<std::string> flags = kQuick;
  flags.insert(flags.end(), {"--preload", "late"});
  fs::create_directories(root_);
  Start(flags);
  EventsUntil("STAGE_FAILED");
  Publish("late", 1);
  EXPECT_FALSE(EventsUntil("MODEL_ADDED").empty());
  EXPECT_TRUE(WaitUntil([&] { return Resident() == std::vector<std::string>{"late"}; }));
  StopCleanly();
}

TEST_F(RefreshTest, RemovedModelStaysResident) {
  Publish("model", 1);
  Start(KeepFresh());
  Stage("model");
  fs::remove(PathOf("model"));
  EXPECT_FALSE(EventsUntil("MODEL_REMOVED").empty());
  EXPECT_EQ(Resident(), std::vector<std::string>{"model"});
  StopCleanly();
}

TEST_F(RefreshTest, StatusSaysHowChangesAreNoticed) {
  fs::create_directories(root_);
  Start();
  const nlohmann::json status = ctl_.Json({"status"});
  ASSERT_EQ(status["root_watches"].size(), 1);
  EXPECT_EQ(status["root_watches"][0]["root"], root_);
  if (status["root_watches"][0]["notified"]) {
    EXPECT_EQ(status["root_watches"][0]["reason"], "");
    EXPECT_THAT(ctl_.Run({"status"}).out, Not(HasSubstr("scanned")));
  } else {
    EXPECT_THAT(ctl_.Run({"status"}).out, HasSubstr("scanned"));
  }
  StopCleanly();
}

}  // namespace
}  // namespace weightd::testing
