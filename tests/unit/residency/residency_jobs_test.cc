// Joining, leaving, queueing and shutting down, with real threads.

#include "absl/synchronization/notification.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"
#include "tests/unit/residency/residency_world.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;

// One worker, kept busy with model "busy" from Hold() to Release().
class ResidencyJobsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* model : {"busy", "a", "b", "c"}) world_.AddModel(model);
    world_.LookThroughTheRoot();
  }
  void Hold() {
    world_.clock().StopCall(kCallBeforeReading);
    busy_ = world_.Start({.model = "busy"});
    world_.clock().AwaitStopped();
  }
  void Release() {
    world_.clock().Open();
    AwaitEnd(*busy_.job);
  }
  Residency& residency() { return world_.residency(); }

  ResidencyWorld world_{WorldOptions{.queue_max = 2}};
  StageTicket busy_;
};

TEST_F(ResidencyJobsTest, RequestsForOneModelJoinOneJob) {
  Hold();
  const StageTicket joined = world_.Start({.model = "busy"});
  EXPECT_TRUE(joined.joined);
  EXPECT_EQ(joined.job, busy_.job);
  const StageTicket queued = world_.Start({.model = "a"});
  EXPECT_FALSE(queued.joined);
  EXPECT_EQ(world_.Start({.model = "a"}).job, queued.job);
  EXPECT_EQ(residency().job_counts().running, 1);
  EXPECT_EQ(residency().job_counts().queued, 1);
  Release();
  EXPECT_OK(AwaitEnd(*queued.job).status);
}

TEST_F(ResidencyJobsTest, PinOfAJoinerCounts) {
  Hold();
  world_.Start({.model = "busy", .pin = true});
  Release();
  EXPECT_TRUE(residency().List("busy").front().pinned);
}

// The job that answered "already resident" would have left the joiner without what it asked for.
TEST_F(ResidencyJobsTest, RestageOfAJoinerCounts) {
  ASSERT_OK(world_.StageModel("a").status);
  Hold();
  const StageTicket first = world_.Start({.model = "a"});
  const StageTicket second = world_.Start({.model = "a", .restage = true});
  Release();
  EXPECT_FALSE(AwaitEnd(*second.job).already_resident);
  EXPECT_OK(AwaitEnd(*first.job).status);
}

TEST_F(ResidencyJobsTest, LastToLeaveCancels) {
  Hold();
  world_.Start({.model = "busy"}).job->Leave(0);
  EXPECT_FALSE(busy_.job->cancelled());
  busy_.job->Leave(0);
  Release();
  EXPECT_THAT(busy_.job->snapshot().status, ReasonIs(Reason::kCancelled, _));
  EXPECT_EQ(world_.used_bytes(), 0);
}

TEST_F(ResidencyJobsTest, DetachedJobGoesOnAlone) {
  Hold();
  world_.Start({.model = "busy", .detached = true}).job->Leave(0);
  busy_.job->Leave(0);
  Release();
  EXPECT_OK(busy_.job->snapshot().status);
  EXPECT_TRUE(world_.Holds("busy", 1));
}

TEST_F(ResidencyJobsTest, FullQueueRefuses) {
  Hold();
  const StageTicket a = world_.Start({.model = "a"});
  world_.Start({.model = "b"});
  EXPECT_THAT(residency().Stage({.model = "c", .priority = JobPriority::kClient}),
              ReasonIs(Reason::kLimitExceeded, _));
  EXPECT_TRUE(world_.Start({.model = "a"}).joined);  // costs no place
  Release();
  AwaitEnd(*a.job);
  EXPECT_OK(world_.StageModel("c").status);
}

TEST_F(ResidencyJobsTest, AbandonedJobsTakeNoPlace) {
  Hold();
  for (int i = 0; i < 5; ++i) {
    const StageTicket a = world_.Start({.model = "a"});
    const StageTicket b = world_.Start({.model = "b"});
    a.job->Leave(0);
    b.job->Leave(0);
    world_.Start({.model = "c"}).job->Leave(0);
    EXPECT_EQ(a.job->snapshot().phase, StagePhase::kFailed);
    EXPECT_THAT(a.job->snapshot().status, ReasonIs(Reason::kCancelled, _));
  }
  Release();
}

TEST_F(ResidencyJobsTest, EvictWaitsForNobodyWhoIsGone) {
  ASSERT_OK(world_.StageModel("a").status);
  Hold();
  const StageTicket again = world_.Start({.model = "a"});
  EXPECT_THAT(residency().Evict("a", "", false), ReasonIs(Reason::kModelBusy, _));
  EXPECT_THAT(residency().Evict("busy", "", false), ReasonIs(Reason::kModelBusy, _));
  again.job->Leave(0);
  ASSERT_OK_AND_ASSIGN(const Residency::Evicted evicted, residency().Evict("a", "", false));
  EXPECT_EQ(evicted.bytes, kUnit);
  EXPECT_EQ(evicted.copies, 1);
  Release();
}

TEST_F(ResidencyJobsTest, ShutdownEndsQueuedAndRunningJobs) {
  Hold();
  const StageTicket queued = world_.Start({.model = "a", .detached = true});
  std::thread shutdown([&] { EXPECT_THAT(residency().Shutdown(), ::testing::IsEmpty()); });
  // The queued job is cancelled under the same lock that refuses new ones.
  while (residency().Stage({.model = "c"}).ok()) std::this_thread::yield();
  EXPECT_THAT(residency().Stage({.model = "c"}), ReasonIs(Reason::kDraining, _));
  world_.clock().Open();
  shutdown.join();
  EXPECT_THAT(queued.job->snapshot().status, ReasonIs(Reason::kCancelled, _));
  EXPECT_THAT(busy_.job->snapshot().status, ReasonIs(Reason::kCancelled, _));
  EXPECT_EQ(world_.used_bytes(), 0);
}

TEST_F(ResidencyJobsTest, DestructionWithJobsIsAShutdown) {
  Hold();
  const StageTicket queued = world_.Start({.model = "a"});
  world_.clock().Open();
  world_.DestroyResidency();
  EXPECT_TRUE(queued.job->snapshot().final());
  EXPECT_TRUE(busy_.job->snapshot().final());
}

// A job that was cancelled still holds its bytes until its reads have ended. One that starts beside
// it would be refused for them, and might publish before it.
TEST(ResidencyTwoWorkersTest, NewJobForAModelWaitsForTheCancelledOne) {
  ResidencyWorld world({.budget_bytes = kUnit, .jobs_max = 2});
  world.AddModel("a");
  world.clock().StopCall(kCallBeforeReading);
  const StageTicket first = world.Start({.model = "a"});
  world.clock().AwaitStopped();
  first.job->Leave(0);
  const StageTicket second = world.Start({.model = "a"});
  EXPECT_NE(second.job, first.job);
  // The other worker has passed the second job by when it has come to this one.
  world.StageModel("none");
  EXPECT_EQ(second.job->snapshot().phase, StagePhase::kQueued);
  world.clock().Open();
  EXPECT_THAT(AwaitEnd(*first.job).status, ReasonIs(Reason::kCancelled, _));
  EXPECT_OK(AwaitEnd(*second.job).status);
}

TEST(ResidencyTwoWorkersTest, ModelsAreStagedSideBySide) {
  ResidencyWorld world({.jobs_max = 2});
  world.AddModel("a");
  world.AddModel("b");
  world.clock().StopCall(kCallBeforeReading);
  const StageTicket first = world.Start({.model = "a"});
  world.clock().AwaitStopped();
  EXPECT_OK(world.StageModel("b").status);
  world.clock().Open();
  EXPECT_OK(AwaitEnd(*first.job).status);
}

TEST(ResidencyOptionsTest, LimitsAreChecked) {
  ResidencyOptions options;
  EXPECT_OK(options.Validate());
  options.queue.jobs_max = 16;
  options.queue.queue_max = 4096;
  EXPECT_OK(options.Validate());
  options.queue.jobs_max = 17;
  EXPECT_FALSE(options.Validate().ok());
  options.queue.jobs_max = 1;
  options.queue.queue_max = 4097;
  EXPECT_FALSE(options.Validate().ok());
  options.queue.queue_max = 0;
  EXPECT_FALSE(options.Validate().ok());
}

TEST(ResidencyReadPathTest, SaysWhatItRunsOn) {
  ResidencyWorld world({.jobs_max = 2});
  const ReadPathInfo path = world.residency().read_path();
  EXPECT_EQ(path.engine, ReadEngine::kPread);
  EXPECT_EQ(path.block_bytes, 2 * kMiB);
  EXPECT_EQ(path.pool_bytes, 4 * kMiB);
}

}  // namespace
}  // namespace weightd::testing
