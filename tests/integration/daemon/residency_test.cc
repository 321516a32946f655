// What stays and what goes: pins, evictions, budgets, newer generations.

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
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr uint64_t kModelBytes = 4 << 20;
constexpr uint64_t kBudgetBytes = 14 << 20;

TEST_F(DaemonTest, PinForbidsEvictionUntilItIsTakenBack) {
  MakeModel("model", kModelBytes);
  Start();
  EXPECT_EQ(ctl_.Run({"pin", "model"}).exit_code, kExitNotReady) << "it is not resident";
  Stage("model");
  EXPECT_EQ(ctl_.Run({"pin", "model"}).exit_code, kExitOk);
  EXPECT_EQ(ctl_.Run({"pin", "model"}).exit_code, kExitOk) << "twice is once";
  EXPECT_EQ(DeviceStatus()["pinned_bytes"], UsedBytes());
  const CommandResult evicted = ctl_.Run({"evict", "model"});
  EXPECT_EQ(evicted.exit_code, kExitNotReady) << evicted;
  EXPECT_THAT(evicted.err, HasSubstr("pinned"));
  EXPECT_EQ(ctl_.Run({"unpin", "model"}).exit_code, kExitOk);
  EXPECT_EQ(ctl_.Run({"evict", "model"}).exit_code, kExitOk);
  EXPECT_EQ(UsedBytes(), 0);
  EXPECT_EQ(ctl_.Run({"evict", "model"}).exit_code, kExitNotReady) << "it is gone";
  StopCleanly();
}

TEST_F(DaemonTest, EvictionWaitsForNobodyAndRefusesWhatIsLeased) {
  const std::string path = MakeModel("model", kModelBytes);
  Start();
  Stage("model");
  const auto holder = Attach("model", {path});
  const CommandResult evicted = ctl_.Run({"evict", "model"});
  EXPECT_EQ(evicted.exit_code, kExitNotReady) << evicted;
  EXPECT_THAT(evicted.err, AllOf(HasSubstr("lease"), HasSubstr("weightctl leases")));
  EXPECT_THAT(holder->Compare(), StartsWith("same "));
  holder->Leave();
  EXPECT_TRUE(WaitUntil([&] { return LeaseCount() == 0; }));
  EXPECT_EQ(ctl_.Run({"evict", "model"}).exit_code, kExitOk);
  EXPECT_THAT(Resident(), IsEmpty());
}

TEST_F(DaemonTest, StageOfAResidentUnchangedModelReadsNothing) {
  MakeModel("model", kModelBytes);
  Start();
  Stage("model");
  const uint64_t generation = GenerationOf("model");
  const nlohmann::json again = ctl_.Json({"stage", "model", "--wait"});
  EXPECT_TRUE(again["already_resident"]);
  EXPECT_EQ(again["generations"][0]["id"], generation);
  const nlohmann::json restaged = ctl_.Json({"stage", "model", "--wait", "--restage"});
  EXPECT_FALSE(restaged["already_resident"]);
  EXPECT_GT(restaged["generations"][0]["id"], generation);
  EXPECT_THAT(Resident(), ElementsAre("model"));
}

class BudgetTest : public DaemonTest {
 protected:
  // Room for two models, each with what its allocation is rounded up to, and not for three.
  void SetUp() override {
    for (const char* name : {"a", "b", "c"}) paths_.push_back(MakeModel(name, kModelBytes));
    Start({"--host.budget-bytes", absl::StrCat(kBudgetBytes)});
    Stage("a");
    Stage("b");
  }
  std::vector<std::string> paths_;
};

TEST_F(BudgetTest, LeastRecentlyUsedModelMakesRoom) {
  ExpectSameAsFiles("a", {paths_[0]});  // now b is the older one
  Stage("c");
  EXPECT_THAT(Resident(), ElementsAre("a", "c"));
  ExpectSameAsFiles("c", {paths_[2]});
  const std::vector<nlohmann::json> events = EventsUntil("EVICTED");
  EXPECT_EQ(events.back()["model"], "b");
  EXPECT_THAT(events.back()["detail"].get<std::string>(), HasSubstr("room for c"));
  EXPECT_LE(UsedBytes(), kBudgetBytes);
}

TEST_F(BudgetTest, LeasedAndPinnedModelsDoNotMakeRoom) {
  const auto holder = Attach("a", {paths_[0]});
  EXPECT_EQ(ctl_.Run({"pin", "b"}).exit_code, kExitOk);
  const CommandResult staged = ctl_.Run({"stage", "c", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitError) << staged;
  EXPECT_THAT(staged.err, AllOf(HasSubstr("c does not fit"), HasSubstr("leased 6.3 MB"),
                                HasSubstr("pinned 6.3 MB")));
  EXPECT_THAT(Resident(), ElementsAre("a", "b"));
  EXPECT_THAT(holder->Compare(), StartsWith("same "));
  holder->Leave();
  EXPECT_TRUE(WaitUntil([&] { return LeaseCount() == 0; }));
  Stage("c");
  EXPECT_THAT(Resident(), ElementsAre("b", "c"));
}

TEST_F(DaemonTest, ReplacedCheckpointIsANewGenerationBesideTheLeasedOne) {
  const std::string path = MakeModel("model", kModelBytes, /*seed=*/1);
  const std::string old_copy = dir_.File("old.safetensors");
  std::filesystem::copy_file(path, old_copy);
  Start();
  Stage("model");
  const auto holder = Attach("model", {old_copy});
  const uint64_t old_generation = GenerationOf("model");

  MakeModel("new", kModelBytes, /*seed=*/2);
  std::filesystem::rename(InRoot("new.safetensors"), path);
  Stage("model");
  const uint64_t new_generation = GenerationOf("model");
  EXPECT_GT(new_generation, old_generation);
  EXPECT_TRUE(holder->WaitForNotice(absl::StrCat("notice superseded generation=", new_generation)))
      << holder->output();
  EXPECT_THAT(holder->Compare(), StartsWith("same ")) << "the old lease keeps the old bytes";
  EXPECT_TRUE(holder->LeaseHeld());
  ExpectSameAsFiles("model", {path});

  EXPECT_THAT(Resident(), ElementsAre("model", "model"));
  EXPECT_EQ(holder->Leave(), std::optional(0));
  EXPECT_EQ(EventsUntil("EVICTED").back()["generation_id"], old_generation);
  EXPECT_THAT(Resident(), ElementsAre("model"));
  StopCleanly();
}

// A new revision moves refs/main; the old snapshot stays where it is.
TEST_F(DaemonTest, NewRevisionOfAHubCacheIsStagedAsTheModel) {
  const std::string old_revision(40, 'a');
  const std::string new_revision(40, 'b');
  const std::vector<TensorSpec> specs = SmallTensorSpecs(8, kModelBytes);
  ASSERT_OK(WriteHubCache(root_, "org/name", old_revision, specs, 1, {.seed = 1}));
  Start();
  Stage("org/name");
  ASSERT_OK(WriteHubCache(root_, "org/name", new_revision, specs, 1, {.seed = 2}));
  Stage("org/name");
  const std::string file =
      InRoot("models--org--name/snapshots/" + new_revision + "/model.safetensors");
  const auto probe = Attach("org/name", {file});
  EXPECT_THAT(probe->Attached(), HasSubstr("revision=" + new_revision));
  EXPECT_THAT(probe->Compare(), StartsWith("same "));
}

}  // namespace
}  // namespace weightd::testing
