#include "daemon/residency/stage_job.h"

#include <thread>

#include "common/errors.h"
#include "tests/support/common/fake_clock.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::shared_ptr<const CopyHold> HoldOn(const std::shared_ptr<const CopyContent>& content) {
  return std::make_shared<CopyHold>(HeldCopy{.content = content, .allocation = nullptr},
                                    [](CopyId) {});
}

class StageJobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(job_.Join({}));
    job_.Observe([this](const StageSnapshot& snapshot) { seen_.push_back(snapshot); });
  }
  void StartReading() {
    job_.EnterPhase(StagePhase::kPlanning, clock_.Now());
    job_.SetTotal(1000);
    job_.EnterPhase(StagePhase::kReading, clock_.Now());
  }
  std::vector<StagePhase> Phases() const {
    std::vector<StagePhase> phases;
    for (const StageSnapshot& snapshot : seen_) phases.push_back(snapshot.phase);
    return phases;
  }

  FakeClock clock_;
  StageJob job_{JobId(7), {.ref = {.model = "a"}, .devices = {"host"}}};
  std::vector<StageSnapshot> seen_;
};

TEST_F(StageJobTest, ObserverSeesTheStateNowAndEachChange) {
  StartReading();
  job_.EnterPhase(StagePhase::kPublishing, clock_.Now());
  const auto content = std::make_shared<CopyContent>();
  EXPECT_TRUE(job_.Finish({HoldOn(content)}, false, {}));
  EXPECT_THAT(Phases(),
              ElementsAre(StagePhase::kQueued, StagePhase::kPlanning, StagePhase::kReading,
                          StagePhase::kPublishing, StagePhase::kDone));
  EXPECT_THAT(seen_.back().contents, ElementsAre(content));
  EXPECT_EQ(seen_.back().job, JobId(7));
  EXPECT_TRUE(seen_.back().final());
}

TEST_F(StageJobTest, LateObserverSeesTheEndAtOnce) {
  job_.Fail(absl::DataLossError("bad"));
  std::vector<StageSnapshot> late;
  job_.Observe([&](const StageSnapshot& snapshot) { late.push_back(snapshot); });
  ASSERT_THAT(late, SizeIs(1));
  EXPECT_EQ(late[0].phase, StagePhase::kFailed);
  EXPECT_THAT(late[0].status, StatusIs(absl::StatusCode::kDataLoss, "bad"));
}

TEST_F(StageJobTest, RemovedObserverIsNotCalled) {
  std::vector<StagePhase> removed;
  const uint64_t id =
      job_.Observe([&](const StageSnapshot& snapshot) { removed.push_back(snapshot.phase); });
  job_.Unobserve(id);
  job_.Unobserve(id);
  job_.EnterPhase(StagePhase::kPlanning, clock_.Now());
  EXPECT_THAT(removed, ElementsAre(StagePhase::kQueued));
  EXPECT_THAT(seen_, SizeIs(2));
}

TEST_F(StageJobTest, ProgressIsPassedOnEvery100Milliseconds) {
  StartReading();
  const size_t before = seen_.size();
  for (uint64_t bytes = 1; bytes <= 1000; ++bytes) {
    clock_.Advance(absl::Milliseconds(1));
    job_.SetBytesDone(bytes, clock_.Now());
  }
  EXPECT_EQ(seen_.size() - before, 10);
  EXPECT_EQ(seen_.back().bytes_total, 1000);
  EXPECT_EQ(seen_.back().bytes_per_second, 1000);
  EXPECT_EQ(job_.snapshot().bytes_done, 1000);
  // The next phase says how far the reading came.
  job_.EnterPhase(StagePhase::kPublishing, clock_.Now());
  EXPECT_EQ(seen_.back().bytes_done, 1000);
}

TEST_F(StageJobTest, LastToLeaveCancels) {
  EXPECT_TRUE(job_.Join({}));
  job_.Leave(0);
  EXPECT_FALSE(job_.cancelled());
  job_.Leave(0);
  EXPECT_TRUE(job_.cancelled());
}

TEST_F(StageJobTest, NobodyJoinsWhatIsCancelledOrOver) {
  job_.Cancel();
  EXPECT_FALSE(job_.Join({}));
  StageJob over(JobId(8), {.ref = {.model = "a"}, .devices = {"host"}});
  ASSERT_TRUE(over.Join({}));
  over.Fail(absl::DataLossError("bad"));
  EXPECT_FALSE(over.Join({}));
  over.Leave(0);
  EXPECT_FALSE(over.cancelled());  // nothing to cancel
}

TEST_F(StageJobTest, DetachedJobIsNotCancelledByLeaving) {
  EXPECT_TRUE(job_.Join({.detached = true}));
  job_.Leave(0);
  job_.Leave(0);
  EXPECT_FALSE(job_.cancelled());
  EXPECT_TRUE(job_.Join({}));
}

TEST_F(StageJobTest, WishesAddUp) {
  EXPECT_EQ(job_.wishes(), StageWishes());
  EXPECT_TRUE(job_.Join({.pin = true}));
  EXPECT_EQ(job_.wishes(), (StageWishes{.pin = true}));
  EXPECT_TRUE(job_.Join({.restage = true}));
  EXPECT_TRUE(job_.Join({}));
  EXPECT_EQ(job_.wishes(), (StageWishes{.pin = true, .restage = true}));
}

// Whoever joins at the last moment gets what it asked for, or the job is not done yet.
// A job that will not read leaves who wishes that to another one; what it knew of before, it does.
TEST_F(StageJobTest, WhoWishesARestageTooLateDoesNotJoin) {
  EXPECT_TRUE(job_.RefuseRestage());
  EXPECT_FALSE(job_.Join({.restage = true}));
  EXPECT_TRUE(job_.Join({.pin = true}));
  EXPECT_FALSE(job_.wishes().restage);

  StageJob other(JobId(8), {.ref = {.model = "a"}, .devices = {"host"}});
  ASSERT_TRUE(other.Join({.restage = true}));
  EXPECT_FALSE(other.RefuseRestage());
  EXPECT_TRUE(other.Join({.restage = true}));
}

TEST_F(StageJobTest, FinishesOnlyWithEveryWishMet) {
  const std::vector<std::shared_ptr<const CopyHold>> content = {
      HoldOn(std::make_shared<CopyContent>())};
  EXPECT_TRUE(job_.Join({.pin = true}));
  EXPECT_FALSE(job_.Finish(content, true, {}));
  EXPECT_FALSE(job_.snapshot().final());
  EXPECT_TRUE(job_.Join({.restage = true}));
  EXPECT_FALSE(job_.Finish(content, true, {.pin = true}));
  EXPECT_TRUE(job_.Finish(content, false, {.pin = true, .restage = true}));
  EXPECT_TRUE(job_.snapshot().final());
}

// No lock is held while an observer runs: it may ask, and may leave.
TEST_F(StageJobTest, ObserverMayCallBack) {
  uint64_t id = 0;
  std::vector<StagePhase> phases;
  id = job_.Observe([&](const StageSnapshot& snapshot) {
    phases.push_back(job_.snapshot().phase);
    if (snapshot.phase == StagePhase::kPlanning) {
      job_.Leave(0);
      job_.Unobserve(id);
    }
  });
  StartReading();
  EXPECT_THAT(phases, ElementsAre(StagePhase::kQueued, StagePhase::kPlanning));
  EXPECT_TRUE(job_.cancelled());
}

// Nobody but the caller has a hold when the end is told.
TEST_F(StageJobTest, HoldsAreGivenBackBeforeFinishReturns) {
  for (int round = 0; round < 100; ++round) {
    StageJob job(JobId(8), {.ref = {.model = "a"}, .devices = {"host"}});
    ASSERT_TRUE(job.Join({}));
    std::thread observer([&job] {
      for (int n = 0; n < 20; ++n) job.Unobserve(job.Observe([](const StageSnapshot&) {}));
    });
    const std::vector<std::shared_ptr<const CopyHold>> holds = {
        HoldOn(std::make_shared<CopyContent>())};
    EXPECT_TRUE(job.Finish(holds, false, {}));
    observer.join();
    EXPECT_EQ(holds[0].use_count(), 1);
  }
}

// Joining and leaving from many threads while the job ends: either somebody is in it, or it is
// cancelled, or it is over.
TEST_F(StageJobTest, JoinersAndTheEndMayRace) {
  std::vector<std::thread> callers;
  callers.reserve(3);
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([this] {
      for (int n = 0; n < 1000; ++n) {
        if (!job_.Join({})) return;
        const uint64_t id = job_.Observe([](const StageSnapshot&) {});
        job_.Unobserve(id);
        job_.Leave(0);
      }
    });
  }
  StartReading();
  for (uint64_t bytes = 0; bytes < 500; ++bytes) job_.SetBytesDone(bytes, clock_.Now());
  job_.EnterPhase(StagePhase::kPublishing, clock_.Now());
  EXPECT_TRUE(job_.Finish({}, false, {}));
  for (std::thread& caller : callers) caller.join();
  EXPECT_FALSE(job_.cancelled());
}

}  // namespace
}  // namespace weightd::testing
