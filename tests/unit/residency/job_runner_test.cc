#include "daemon/residency/job_runner.h"

#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "common/errors.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/executor/simulated_executor.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

class JobRunnerTest : public ::testing::Test {
 protected:
  std::shared_ptr<StageJob> Submit(const std::string& model, uint32_t uid = 7,
                                   const std::string& lane = "") {
    auto ticket =
        runner_.Submit({.ref = {.model = model}, .devices = {"host"}, .lane = lane}, {.uid = uid});
    EXPECT_OK(ticket);
    return ticket->job;
  }
  // All that can go on does.
  void Settle() {
    while (executor_.Step()) {
    }
  }
  // A job that is told to hang does, before its end or, once it has told that, after it.
  RunEnd Run(const std::shared_ptr<StageJob>& shared) {
    StageJob& job = *shared;
    begun_.push_back(job.model());
    if (job.model() == "hung/new" && job.lane().empty()) {
      job.EnterPhase(StagePhase::kPlanning, absl::Now());
      if (!runner_.MoveTo(shared, "hung")) {
        job.EnterQueueAgain();
        return RunEnd::kWaits;
      }
    }
    if (job.model() != "ending") Hang();
    job.Fail(absl::InternalError("done"));
    if (job.model() == "ending") Hang();
    return RunEnd::kEnded;
  }
  void Hang() {
    absl::MutexLock lock(&mu_);
    executor_.Await(mu_, absl::Condition(&goes_on_), absl::InfiniteDuration());
  }
  void GoOn() {
    absl::MutexLock lock(&mu_);
    goes_on_ = true;
  }

  SimulatedExecutor executor_{[](uint64_t) { return 0; }};
  std::vector<std::string> begun_;
  absl::Mutex mu_;
  bool goes_on_ ABSL_GUARDED_BY(mu_) = false;
  JobRunner runner_{{.jobs_max = 1}, executor_, [this](const std::shared_ptr<StageJob>& job) {
                      return Run(job);
                    }};
};

TEST_F(JobRunnerTest, RunsAsManyAtOnceAsThereArePlaces) {
  ASSERT_OK(runner_.Start(1));
  for (const char* model : {"a", "b"}) Submit(model);
  Submit("c", /*uid=*/8);
  Settle();
  EXPECT_THAT(begun_, ElementsAre("a", "c"));  // one, and one of a user of whom none runs
  EXPECT_EQ(runner_.counts().running, 2);
  EXPECT_EQ(runner_.counts().queued, 1);
  GoOn();
  Settle();
  EXPECT_THAT(begun_, ElementsAre("a", "c", "b"));
  EXPECT_EQ(runner_.counts().running, 0);
}

TEST_F(JobRunnerTest, JobThatIsPlannedWaitsAmongThoseOfItsVolume) {
  ASSERT_OK(runner_.Start(1));
  Submit("hung/a", 7, "hung");
  const auto found = Submit("hung/new");
  Settle();
  EXPECT_THAT(begun_, ElementsAre("hung/a", "hung/new"));
  EXPECT_EQ(runner_.counts().running, 1);
  EXPECT_EQ(found->snapshot().phase, StagePhase::kQueued);
  Submit("good/new");
  Settle();
  EXPECT_THAT(begun_, ElementsAre("hung/a", "hung/new", "good/new"));
  GoOn();
  Settle();
  EXPECT_THAT(begun_, ElementsAre("hung/a", "hung/new", "good/new", "hung/new"));
  EXPECT_TRUE(found->final());
  EXPECT_EQ(runner_.counts().running, 0);
  EXPECT_EQ(runner_.counts().queued, 0);
}

TEST_F(JobRunnerTest, JobThatIsPlannedGoesOnWhereItsVolumeHasAPlace) {
  ASSERT_OK(runner_.Start(1));
  Submit("hung/new");
  Settle();
  Submit("good/new");
  Settle();
  EXPECT_THAT(begun_, ElementsAre("hung/new", "good/new"));
  EXPECT_EQ(runner_.counts().running, 2);
  GoOn();
  Settle();
  EXPECT_EQ(runner_.counts().running, 0);
}

TEST_F(JobRunnerTest, JobThatAllLeaveWhileItIsPlannedEndsSoon) {
  ASSERT_OK(runner_.Start(1));
  Submit("hung/a", 7, "hung");
  const auto found = Submit("hung/new");
  Settle();
  found->Leave(7);
  EXPECT_THAT(runner_.TakeCancelled(), ElementsAre(found));
  EXPECT_EQ(runner_.counts().queued, 0);
  GoOn();
  Settle();
}

// They wait for those that there are.
TEST_F(JobRunnerTest, JobsRunAlthoughNoMoreWorkersCanBeHad) {
  ASSERT_OK(runner_.Start(1));
  executor_.set_start_fault([] { return absl::ResourceExhaustedError("no more threads"); });
  Submit("a");
  Submit("b", /*uid=*/8);
  Settle();
  EXPECT_THAT(begun_, ElementsAre("a"));
  GoOn();
  Settle();
  EXPECT_THAT(begun_, ElementsAre("a", "b"));
}

TEST_F(JobRunnerTest, StopSaysWhatHangsAtTheDeadline) {
  ASSERT_OK(runner_.Start(1));
  const auto hanging = Submit("hanging");
  const auto waiting = Submit("waiting");
  Settle();
  const absl::Time start = executor_.SteadyNow();
  EXPECT_THAT(runner_.Stop(absl::Now() + absl::Seconds(5)),
              ElementsAre(StartsWith("stage hanging, job 1: ")));
  EXPECT_NEAR(absl::ToDoubleSeconds(executor_.SteadyNow() - start), 5, 1);
  EXPECT_TRUE(hanging->cancelled());
  EXPECT_THAT(runner_.Submit({.ref = {.model = "late"}, .devices = {"host"}}, {}),
              ReasonIs(Reason::kDraining, _));
  GoOn();
  EXPECT_THAT(runner_.Stop(absl::InfiniteFuture()), IsEmpty());
  EXPECT_TRUE(waiting->final());  // it ran, to its quick end
}

TEST_F(JobRunnerTest, JobsLeftAreThoseThatHaveNotToldTheirEnd) {
  ASSERT_OK(runner_.Start(2));
  Submit("ending");
  Submit("a", /*uid=*/8);
  Settle();
  EXPECT_THAT(runner_.JobsLeftFor("a", ""), SizeIs(1));
  // It waits for what is ending, until that hangs.
  const absl::Time start = executor_.SteadyNow();
  EXPECT_THAT(runner_.JobsLeftFor("ending", ""), IsEmpty());
  EXPECT_EQ(executor_.SteadyNow() - start, absl::Seconds(1));
  GoOn();
  EXPECT_THAT(runner_.JobsLeftFor("ending", ""), IsEmpty());
  EXPECT_LT(executor_.SteadyNow() - start, absl::Seconds(2));
  Settle();
  EXPECT_EQ(runner_.counts().running, 0);
}

TEST_F(JobRunnerTest, AWorkerThatCannotBeHadIsAnError) {
  int starts = 0;
  executor_.set_start_fault([&] {
    return ++starts < 2 ? absl::OkStatus() : absl::ResourceExhaustedError("no more threads");
  });
  EXPECT_THAT(runner_.Start(2), StatusIs(absl::StatusCode::kResourceExhausted, _));
}

TEST_F(JobRunnerTest, CancelledOnesLeaveTheQueue) {
  ASSERT_OK(runner_.Start(1));
  Submit("hanging");
  const auto left = Submit("left");
  Settle();
  left->Leave(*left->payer());
  EXPECT_THAT(runner_.TakeCancelled(), ElementsAre(left));
  EXPECT_EQ(runner_.counts().queued, 0);
  GoOn();
}

}  // namespace
}  // namespace weightd::testing
