#include "daemon/catalog/catalog_watcher.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/storage/hanging_volume.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Two roots, as the daemon has them.
class CatalogWatcherTest : public CatalogFixture {
 protected:
  void Watch(const std::vector<std::string>& roots,
             absl::Duration stall_timeout = absl::Seconds(60)) {
    std::vector<std::shared_ptr<Root>> made;
    for (const std::string& path : roots) {
      auto root = Root::Create(path, {.threads = 2, .stall_timeout = stall_timeout});
      ASSERT_OK(root);
      made.push_back(*std::move(root));
    }
    catalog_ = std::make_unique<Catalog>(std::move(made), CatalogOptions());
    CatalogWatcher::Listener listener;
    listener.on_first_look = [](const std::vector<Checkpoint>&) {};
    listener.on_changes = [this](const std::vector<CatalogChange>& changes) {
      absl::MutexLock lock(&mu_);
      for (const CatalogChange& change : changes) changes_[change.model] = change.kind;
    };
    listener.on_failure = [this](const absl::Status& status) {
      absl::MutexLock lock(&mu_);
      failures_.push_back(std::string(status.message()));
    };
    listener.on_reopened = [this](const std::string& root, const std::string& what) {
      absl::MutexLock lock(&mu_);
      reopened_.push_back(absl::StrCat(root, ": ", what));
    };
    auto watcher =
        CatalogWatcher::Start({.scan_interval = absl::Seconds(1), .settle = absl::ZeroDuration()},
                              *catalog_, clock_, std::move(listener));
    ASSERT_OK(watcher);
    watcher_ = *std::move(watcher);
  }

  // Looks through the roots and waits for that, or as long as `timeout`.
  void Look(absl::Duration timeout = absl::InfiniteDuration()) {
    absl::Notification looked;
    watcher_->Refresh(timeout, [&] { looked.Notify(); });
    looked.WaitForNotification();
  }
  std::vector<std::string> ModelsOf(size_t root) const {
    std::vector<std::string> models;
    const auto scan = watcher_->last_scan(root);
    if (scan == nullptr) return {"never looked at"};
    for (const Checkpoint& checkpoint : scan->checkpoints) models.push_back(checkpoint.model);
    return models;
  }

  const SystemClock clock_;
  std::unique_ptr<Catalog> catalog_;
  absl::Mutex mu_;
  std::map<std::string, CatalogChange::Kind> changes_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> failures_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> reopened_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<CatalogWatcher> watcher_;
};

TEST_F(CatalogWatcherTest, ARefreshShowsWhatWasThereBeforeIt) {
  Watch({first_.path(), second_.path()});
  Look();
  EXPECT_THAT(ModelsOf(0), IsEmpty());
  WriteOne("m/model.safetensors");
  Look();
  EXPECT_THAT(ModelsOf(0), ElementsAre("m"));
  EXPECT_THAT(ModelsOf(1), IsEmpty());
  EXPECT_OK(watcher_->looks()[0].problem);
}

TEST_F(CatalogWatcherTest, ARootThatIsNotThereComesLater) {
  const std::string late = first_.File("late");
  Watch({late, second_.path()});
  Look();
  EXPECT_THAT(watcher_->looks()[0].problem,
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("late")));
  EXPECT_OK(watcher_->looks()[1].problem);
  EXPECT_THAT(catalog_->Find("m"), ReasonIs(Reason::kModelNotFound, HasSubstr("late")));
  WriteOne("late/m/model.safetensors");
  // Also before anybody has looked.
  EXPECT_OK(catalog_->Find("m"));
  Look();
  EXPECT_THAT(ModelsOf(0), ElementsAre("m"));
  EXPECT_OK(watcher_->looks()[0].problem);
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(reopened_, ElementsAre(HasSubstr("it is there now")));
  EXPECT_THAT(failures_, ElementsAre(HasSubstr("late")));
  EXPECT_EQ(changes_["m"], CatalogChange::Kind::kAdded);
}

TEST_F(CatalogWatcherTest, ALinkThatIsSwitchedLeadsElsewhere) {
  WriteOne("v1/old/model.safetensors");
  WriteOne("v2/new/model.safetensors");
  const std::string link = first_.File("current");
  std::filesystem::create_directory_symlink("v1", link);
  Watch({link});
  Look();
  EXPECT_THAT(ModelsOf(0), ElementsAre("old"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint old, catalog_->Find("old"));
  std::filesystem::create_directory_symlink("v2", first_.File("next"));
  std::filesystem::rename(first_.File("next"), link);
  Look();
  EXPECT_THAT(ModelsOf(0), ElementsAre("new"));
  // What was found before is opened where it was found.
  EXPECT_OK(catalog_->Open(old));
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(reopened_, ElementsAre(HasSubstr("another directory")));
  EXPECT_EQ(changes_["old"], CatalogChange::Kind::kRemoved);
  EXPECT_EQ(changes_["new"], CatalogChange::Kind::kAdded);
}

TEST_F(CatalogWatcherTest, AnEarlierRootsModelHidesALaterOnes) {
  ASSERT_OK(WriteSafetensors(second_.File("m/model.safetensors"), Specs(), {}));
  Watch({first_.path(), second_.path()});
  Look();
  WriteOne("m/model.safetensors");
  Look();
  {
    absl::MutexLock lock(&mu_);
    EXPECT_EQ(changes_["m"], CatalogChange::Kind::kChanged);
    changes_.clear();
  }
  // The later one's is hidden now.
  std::filesystem::remove_all(second_.File("m"));
  Look();
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(changes_, IsEmpty());
}

// A FUSE server could not hang better: the threads of the first root are taken.
TEST_F(CatalogWatcherTest, ARootThatHangsHoldsUpNeitherTheOthersNorTheEnd) {
  WriteOne("m/model.safetensors");
  Watch({first_.path(), second_.path()}, absl::Milliseconds(50));
  Look();
  const auto gate = std::make_shared<Gate>();
  gate->Hang();
  VolumeThreads& threads = *catalog_->roots()[0]->threads();
  for (int i = 0; i < 2; ++i) ASSERT_OK(threads.Submit("stat dead", [gate] { gate->Pass(); }));
  gate->AwaitHeld(2);
  ASSERT_OK(WriteSafetensors(second_.File("n/model.safetensors"), Specs(), {}));
  while (threads.state().stuck < 2) {
  }
  Look();
  EXPECT_THAT(ModelsOf(0), ElementsAre("m"));  // as it was
  EXPECT_THAT(ModelsOf(1), ElementsAre("n"));
  EXPECT_THAT(watcher_->looks()[0].problem, ReasonIs(Reason::kVolumeStuck, HasSubstr("stat dead")));
  EXPECT_OK(catalog_->Find("m")) << "the volume that it is known to lie on answers";
  for (int i = 0; i < 2; ++i) {
    ASSERT_OK(threads.Submit(VolumeWork("read dead", catalog_->VolumesShown("m")),
                             [gate] { gate->Pass(); }));
  }
  while (threads.state().stuck < 4) {
  }
  // What it has fails, what it does not have is found elsewhere, and told.
  EXPECT_THAT(catalog_->Find("m"), ReasonIs(Reason::kVolumeStuck, _));
  ASSERT_OK_AND_ASSIGN(const Checkpoint found, catalog_->Find("n"));
  EXPECT_THAT(found.fallbacks, ElementsAre(HasSubstr("passed over")));
  watcher_->Stop();
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(failures_, ElementsAre(HasSubstr("stat dead")));
}

// A call hangs, and looks go on beside it: one fact is told once, not after each look.
TEST_F(CatalogWatcherTest, ACallThatHangsIsToldOnceWhileLooksGoOn) {
  WriteOne("m/model.safetensors");
  Watch({first_.path()}, absl::Milliseconds(50));
  Look();
  const auto gate = std::make_shared<Gate>();
  gate->Hang();
  VolumeThreads& threads = *catalog_->roots()[0]->threads();
  ASSERT_OK(threads.Submit("read dead", [gate] { gate->Pass(); }));
  gate->AwaitHeld(1);
  while (threads.state().stuck < 1) {
  }
  for (int i = 0; i < 4; ++i) Look();
  watcher_->Stop();
  gate->Release();
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(failures_, ElementsAre(HasSubstr("read dead")));
}

// Its threads hang, but not yet as long as it takes to say so.
TEST_F(CatalogWatcherTest, ASilentRootIsPassedOverSoonAndAskedAgainWhereNobodyElseKnows) {
  WriteOne("m/model.safetensors");
  ASSERT_OK(WriteSafetensors(second_.File("n/model.safetensors"), Specs(), {}));
  Watch({first_.path(), second_.path()}, absl::Minutes(5));
  Look();
  const auto gate = std::make_shared<Gate>();
  gate->Hang();
  VolumeThreads& threads = *catalog_->roots()[0]->threads();
  for (int i = 0; i < 2; ++i) ASSERT_OK(threads.Submit("stat slow", [gate] { gate->Pass(); }));
  gate->AwaitHeld(2);
  ASSERT_OK_AND_ASSIGN(const Checkpoint found, catalog_->Find("n"));
  EXPECT_THAT(found.fallbacks, ElementsAre(HasSubstr("passed over")));
  // Newly there, and slow to be told.
  WriteOne("late/model.safetensors");
  auto opener = Thread::Start("opener", [&] {
    for (int i = 0; i < 2; ++i) EXPECT_OK(catalog_->Find("n"));  // longer than it is passed over
    gate->Release();
  });
  ASSERT_OK(opener);
  EXPECT_OK(catalog_->Find("late"));
}

TEST_F(CatalogWatcherTest, WhoWaitsIsToldWhenItStops) {
  Watch({first_.path()}, absl::Minutes(5));
  Look();
  const auto gate = std::make_shared<Gate>();
  gate->Hang();
  VolumeThreads& threads = *catalog_->roots()[0]->threads();
  for (int i = 0; i < 2; ++i) ASSERT_OK(threads.Submit("stat dead", [gate] { gate->Pass(); }));
  gate->AwaitHeld(2);
  absl::Notification told;
  watcher_->Refresh(absl::InfiniteDuration(), [&] { told.Notify(); });
  watcher_->Stop();
  told.WaitForNotification();
  absl::Notification at_once;
  watcher_->Refresh(absl::InfiniteDuration(), [&] { at_once.Notify(); });
  EXPECT_TRUE(at_once.HasBeenNotified());
}

}  // namespace
}  // namespace weightd::testing
