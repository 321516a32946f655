#include "daemon/residency/refresher.h"

#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"
#include "tests/unit/residency/residency_world.h"

namespace weightd::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A Residency on the host and a GPU, and what its volume is said to have become.
class RefresherTest : public ::testing::Test {
 protected:
  void Make(const RefresherOptions& options, const std::vector<Pin>& pins = {}) {
    WorldOptions world;
    world.more_devices = {{std::make_shared<MemoryDevice>(), 16 * kUnit}};
    world.pins = pins;
    world_ = std::make_unique<ResidencyWorld>(world);
    wishes_ = std::make_unique<WishList>(
        RetryOptions(), world_->residency(), world_->clock(),
        [this](const WishNotice& notice) { notices_.push_back(notice.model); });
    refresher_ =
        std::make_unique<Refresher>(options, world_->residency(), world_->events(), *wishes_);
  }
  void Change(const std::string& model, CatalogChange::Kind kind = CatalogChange::Kind::kChanged) {
    CatalogChange change;
    change.kind = kind;
    change.model = model;
    refresher_->OnChanges({change});
    for (const auto& job : world_->residency().JobsFor(model)) (void)AwaitEnd(*job);
  }

  std::unique_ptr<ResidencyWorld> world_;
  std::unique_ptr<WishList> wishes_;
  std::unique_ptr<Refresher> refresher_;
  std::vector<std::string> notices_;
};

constexpr char kGpu[] = "GPU-memory-0";

TEST_F(RefresherTest, OnRequestOnlyTells) {
  Make({});
  world_->AddModel("a", 1);
  world_->StageModel("a");
  world_->AddModel("a", 2);
  Change("a");
  EXPECT_TRUE(world_->Holds("a", 1));
  EXPECT_THAT(world_->recorder().lines(), Contains("model_changed a"));
}

TEST_F(RefresherTest, KeepFreshStagesWhereItIsResidentAndNothingElse) {
  Make({.policy = RefreshPolicy::kKeepFresh});
  world_->AddModel("a", 1);
  world_->AddModel("b", 1);
  world_->Stage({.model = "a", .devices = {"host", kGpu}});
  world_->AddModel("a", 2);
  world_->AddModel("b", 2);
  Change("a");
  Change("b");
  EXPECT_TRUE(world_->Holds("a", 2, "host"));
  EXPECT_TRUE(world_->Holds("a", 2, kGpu));
  EXPECT_THAT(world_->CopiesOf("b"), IsEmpty());
}

TEST_F(RefresherTest, PreloadedModelThatComesLaterIsStagedUnderEitherPolicy) {
  Make({.preload = {"a"}, .preload_pin = true});
  world_->AddModel("a", 1);
  Change("a", CatalogChange::Kind::kAdded);
  EXPECT_THAT(world_->CopiesOf("a"), ElementsAre(kGpu));
  EXPECT_THAT(world_->residency().pins(), ElementsAre(Pin{"a", "", kGpu}));
  // It is resident now: what changes after that is only told.
  world_->AddModel("a", 2);
  Change("a");
  EXPECT_TRUE(world_->Holds("a", 1));
}

TEST_F(RefresherTest, PinnedModelThatComesLaterIsStagedWhereItIsPinned) {
  Make({}, {{"a", "", "host"}});
  world_->AddModel("a", 1);
  Change("a", CatalogChange::Kind::kAdded);
  EXPECT_THAT(world_->CopiesOf("a"), ElementsAre("host"));
}

TEST_F(RefresherTest, FirstLookStagesWhatIsWantedAndMissing) {
  Make({.policy = RefreshPolicy::kKeepFresh, .preload = {"a"}});
  world_->AddModel("a", 1);
  Checkpoint there;
  there.model = "a";
  refresher_->OnFirstLook({there});
  for (const auto& job : world_->residency().JobsFor("a")) (void)AwaitEnd(*job);
  EXPECT_THAT(world_->CopiesOf("a"), ElementsAre(kGpu));
}

TEST_F(RefresherTest, RemovedModelStaysResident) {
  Make({.policy = RefreshPolicy::kKeepFresh});
  world_->AddModel("a", 1);
  world_->StageModel("a");
  Change("a", CatalogChange::Kind::kRemoved);
  EXPECT_TRUE(world_->Holds("a", 1));
  EXPECT_THAT(world_->recorder().lines(), Contains("model_removed a"));
}

// More than clients could ever have waiting.
TEST_F(RefresherTest, QueueTakesWhateverIsWanted) {
  RefresherOptions options;
  for (int i = 0; i < 20; ++i) options.preload.push_back(absl::StrCat("m", i));
  Make(options);
  std::vector<Checkpoint> there(20);
  for (int i = 0; i < 20; ++i) {
    there[static_cast<size_t>(i)].model = options.preload[static_cast<size_t>(i)];
    world_->AddModel(there[static_cast<size_t>(i)].model, 1, 1000);
  }
  refresher_->OnFirstLook(there);
  for (const std::string& model : options.preload) {
    for (const auto& job : world_->residency().JobsFor(model)) (void)AwaitEnd(*job);
  }
  EXPECT_THAT(notices_, IsEmpty());
  size_t done = 0;
  for (const std::string& line : world_->recorder().lines()) {
    if (line.starts_with("stage_done ")) ++done;
  }
  EXPECT_EQ(done, options.preload.size());
}

TEST_F(RefresherTest, WishOfADaemonThatDrainsIsNoRefusal) {
  Make({.preload = {"a"}});
  EXPECT_THAT(world_->residency().Shutdown(), ::testing::IsEmpty());
  Change("a", CatalogChange::Kind::kAdded);
  EXPECT_THAT(notices_, IsEmpty());
  EXPECT_EQ(wishes_->size(), 0);
}

}  // namespace
}  // namespace weightd::testing
