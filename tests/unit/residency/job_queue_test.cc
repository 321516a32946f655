#include "daemon/residency/job_queue.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

StageTask Task(const std::string& model, std::vector<std::string> devices = {"host"}) {
  return {.ref = {.model = model}, .devices = std::move(devices)};
}

class JobQueueTest : public ::testing::Test {
 protected:
  StageTicket SubmitFor(uint32_t uid, StageTask task, JobPriority priority) {
    auto ticket = queue_.Submit(std::move(task), {.priority = priority, .uid = uid});
    EXPECT_OK(ticket);
    return *std::move(ticket);
  }
  StageTicket SubmitAs(uint32_t uid, const std::string& model,
                       JobPriority priority = JobPriority::kClient) {
    return SubmitFor(uid, Task(model), priority);
  }
  // From a uid of its own.
  StageTicket Submit(StageTask task, JobPriority priority = JobPriority::kOperator) {
    return SubmitFor(next_uid_++, std::move(task), priority);
  }
  // The models in the order in which they would run one by one.
  std::vector<std::string> RunAll() {
    std::vector<std::string> models;
    while (const auto job = queue_.TakeNext()) {
      models.push_back(job->model());
      queue_.Ended(job);
    }
    return models;
  }

  uint32_t next_uid_ = 1000;
  JobQueue queue_{{.queue_max = 8, .jobs_per_uid_max = 3}};  // two jobs at once
};

TEST_F(JobQueueTest, WaitingClientsComeFirstThenOperatorsThenPreloadsThenRefreshes) {
  Submit(Task("refresh"), JobPriority::kRefresh);
  Submit(Task("preload"), JobPriority::kPreload);
  Submit(Task("operator-1"), JobPriority::kOperator);
  Submit(Task("client-1"), JobPriority::kClient);
  Submit(Task("operator-2"), JobPriority::kOperator);
  Submit(Task("client-2"), JobPriority::kClient);
  EXPECT_THAT(RunAll(), ElementsAre("client-1", "client-2", "operator-1", "operator-2", "preload",
                                    "refresh"));
}

TEST_F(JobQueueTest, ClientThatJoinsAPreloadMovesItUp) {
  Submit(Task("a"), JobPriority::kPreload);
  Submit(Task("b"), JobPriority::kPreload);
  EXPECT_TRUE(Submit(Task("b"), JobPriority::kClient).joined);
  EXPECT_THAT(RunAll(), ElementsAre("b", "a"));
}

TEST_F(JobQueueTest, JobsSayHowManyAreBeforeThem) {
  const StageTicket first = Submit(Task("a"), JobPriority::kPreload);
  const StageTicket second = Submit(Task("b"), JobPriority::kClient);
  JobQueue::Tell(queue_.TakePlaces());
  EXPECT_EQ(first.job->snapshot().jobs_ahead, 1);
  EXPECT_EQ(second.job->snapshot().jobs_ahead, 0);
  const auto running = queue_.TakeNext();
  EXPECT_EQ(running, second.job);
  JobQueue::Tell(queue_.TakePlaces());
  EXPECT_EQ(first.job->snapshot().jobs_ahead, 1);
  queue_.Ended(running);
  JobQueue::Tell(queue_.TakePlaces());
  EXPECT_EQ(first.job->snapshot().jobs_ahead, 0);
}

// A queue that grows at its end tells the newcomer; each place is made once.
TEST_F(JobQueueTest, OnlyChangedPlacesAreTold) {
  JobQueue queue({.queue_max = 4096});
  size_t told = 0;
  for (int i = 0; i < 4096; ++i) {
    EXPECT_OK(queue.Submit(Task(absl::StrCat("m", i)), {.priority = JobPriority::kPreload}));
    told += queue.TakePlaces().jobs_ahead.size();
  }
  EXPECT_EQ(told, 4096);
  EXPECT_THAT(queue.TakePlaces().jobs_ahead, IsEmpty());
  const auto first = queue.TakeNext();  // one more runs, and one less waits
  EXPECT_THAT(queue.TakePlaces().jobs_ahead, IsEmpty());
  queue.Ended(first);
  EXPECT_THAT(queue.TakePlaces().jobs_ahead, SizeIs(4095));
}

// They are told without the queue's lock, so that two may come in the wrong order.
TEST_F(JobQueueTest, OlderPlaceThatIsToldLateIsPassedOver) {
  const StageTicket ticket = Submit(Task("a"), JobPriority::kPreload);
  const JobQueue::Places before = queue_.TakePlaces();
  Submit(Task("b"), JobPriority::kClient);
  JobQueue::Tell(queue_.TakePlaces());
  JobQueue::Tell(before);
  EXPECT_EQ(ticket.job->snapshot().jobs_ahead, 1);
}

TEST_F(JobQueueTest, JobsForOneModelAndDeviceRunOneAfterAnother) {
  Submit(Task("a", {"GPU-0"}));
  Submit(Task("a", {"GPU-0", "GPU-1"}));
  Submit(Task("a", {"GPU-2"}));
  const auto first = queue_.TakeNext();
  const auto second = queue_.TakeNext();
  EXPECT_THAT(second->task().devices, ElementsAre("GPU-2"));
  EXPECT_FALSE(queue_.HasNext());
  EXPECT_EQ(queue_.TakeNext(), nullptr);
  queue_.Ended(first);
  EXPECT_TRUE(queue_.HasNext());
}

TEST_F(JobQueueTest, JoinsOnlyWhatDoesAllThatIsAskedFor) {
  Submit(Task("a", {"GPU-0", "GPU-1"}));
  EXPECT_TRUE(Submit(Task("a", {"GPU-1"})).joined);
  EXPECT_FALSE(Submit(Task("a", {"GPU-1", "host"})).joined);
  StageTask revision = Task("a", {"GPU-0"});
  revision.ref.revision = "abcdef0";
  EXPECT_FALSE(Submit(revision).joined);
}

// A copy of what is resident says nothing about what the volume has.
TEST_F(JobQueueTest, OperatorDoesNotJoinAPromotionAndAnAttachJoinsAStage) {
  StageTask promotion = Task("a");
  promotion.source = StageSource::kResident;
  Submit(promotion, JobPriority::kClient);
  EXPECT_FALSE(Submit(Task("a")).joined);
  StageTask wait = Task("b");
  wait.source = StageSource::kAny;
  Submit(Task("b"));
  EXPECT_TRUE(Submit(wait, JobPriority::kClient).joined);
}

TEST_F(JobQueueTest, LimitsHold) {
  const auto name = [](int i) { return absl::StrCat("m", i); };
  const auto submit = [&](int i, const StageCaller& caller) {
    return queue_.Submit(Task(name(i)), caller);
  };
  for (int i = 0; i < 3; ++i) SubmitAs(7, name(i), JobPriority::kOperator);
  EXPECT_THAT(submit(3, {.uid = 7}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("uid 7 has 3 jobs, jobs_per_uid_max")));
  EXPECT_TRUE(SubmitAs(7, name(2)).joined);  // joining begins none
  // The daemon's own jobs count for nobody, and are not refused: nor do they hold up clients.
  for (int i = 100; i < 150; ++i) SubmitAs(7, name(i), JobPriority::kPreload);
  for (int i = 10; i < 15; ++i) Submit(Task(name(i)));
  SubmitAs(7, name(200), JobPriority::kRefresh);
  EXPECT_THAT(submit(20, {.priority = JobPriority::kClient, .uid = 8}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("8 jobs wait already, queue_max")));
  // A job that is over makes room for its uid's next.
  const auto job = queue_.TakeNext();
  job->Fail(absl::CancelledError("over"));
  queue_.Ended(job);
  EXPECT_OK(submit(21, {.uid = 7}));
}

TEST_F(JobQueueTest, OperatorsHaveAReserveWhereClientsFilledTheQueue) {
  for (int i = 0; i < 8; ++i) Submit(Task(absl::StrCat("m", i)), JobPriority::kClient);
  EXPECT_THAT(queue_.Submit(Task("c"), {.priority = JobPriority::kClient}),
              ReasonIs(Reason::kLimitExceeded, _));
  for (uint32_t i = 0; i < kOperatorJobsReserve; ++i) Submit(Task(absl::StrCat("o", i)));
  EXPECT_THAT(queue_.Submit(Task("more"), {.priority = JobPriority::kOperator}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("24 jobs wait already")));
}

// Two who always have one job that waits do not keep out one who has many.
TEST_F(JobQueueTest, NewcomersDoNotStarveWhoWaits) {
  for (const char* model : {"a1", "a2", "a3"}) SubmitAs(7, model);
  std::vector<std::string> order;
  SubmitAs(8, "b");
  for (int i = 0; i < 9; ++i) {
    const auto job = queue_.TakeNext();
    order.push_back(job->model());
    SubmitAs(i % 2 == 0 ? 9 : 8, absl::StrCat("n", i));
    queue_.Ended(job);
  }
  EXPECT_THAT(order, ::testing::IsSupersetOf({"a1", "a2", "a3"}));
}

// Who attaches again and again keeps no changed checkpoint, preload or pin from being staged.
TEST_F(JobQueueTest, UsersDoNotStarveTheDaemon) {
  JobQueue queue({.jobs_max = 1});
  const auto submit = [&](const std::string& model, const StageCaller& caller) {
    EXPECT_OK(queue.Submit(Task(model), caller));
  };
  const StageCaller user = {.priority = JobPriority::kClient, .uid = 7};
  const StageCaller daemon = {.priority = JobPriority::kRefresh};
  submit("m0", user);
  submit("m1", user);
  const auto first = queue.TakeNext();
  submit("changed", daemon);
  submit("preload", {.priority = JobPriority::kPreload});
  const auto own = queue.TakeNext();  // beside the user's
  ASSERT_NE(own, nullptr);
  EXPECT_EQ(own->model(), "preload");
  EXPECT_EQ(queue.TakeNext(), nullptr);
  queue.Ended(own);
  EXPECT_EQ(queue.TakeNext()->model(), "changed");
}

TEST_F(JobQueueTest, UsersTakeTurns) {
  const auto a1 = SubmitAs(7, "a1", JobPriority::kClient);
  const auto a2 = SubmitAs(7, "a2", JobPriority::kOperator);
  const auto a3 = SubmitAs(7, "a3", JobPriority::kClient);
  const auto b1 = SubmitAs(8, "b1", JobPriority::kOperator);
  const auto b2 = SubmitAs(8, "b2", JobPriority::kOperator);
  const auto own = SubmitAs(9, "own", JobPriority::kPreload);
  JobQueue::Tell(queue_.TakePlaces());
  std::vector<uint32_t> ahead;
  for (const StageTicket& ticket : {a1, b1, a3, b2, a2, own}) {
    ahead.push_back(ticket.job->snapshot().jobs_ahead);
  }
  EXPECT_THAT(ahead, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(RunAll(), ElementsAre("a1", "b1", "own", "a3", "b2", "a2"));
}

// Nothing that the daemon wants is lost, and its order stays.
TEST_F(JobQueueTest, OwnJobsBeyondTheLimitOfClientsWaitInTheirOrder) {
  std::vector<std::string> wanted;
  for (int i = 0; i < 300; ++i) {
    wanted.push_back(absl::StrCat("m", i));
    Submit(Task(wanted.back()), JobPriority::kPreload);
  }
  EXPECT_EQ(queue_.queued(), 300);
  Submit(Task("operator"));
  std::vector<std::string> all = {"operator"};
  all.insert(all.end(), wanted.begin(), wanted.end());
  EXPECT_EQ(RunAll(), all);
}

TEST_F(JobQueueTest, OwnJobsHaveABoundToo) {
  for (uint32_t i = 0; i < kOwnJobsMax; ++i) {
    Submit(Task(absl::StrCat("m", i)), JobPriority::kRefresh);
  }
  EXPECT_THAT(queue_.Submit(Task("one more"), {.priority = JobPriority::kRefresh}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("jobs of the daemon itself")));
  Submit(Task("client"), JobPriority::kClient);
}

// It is as urgent as a client's from then on, and counts for nobody: who waits for 300 preloads
// keeps nobody else out.
TEST_F(JobQueueTest, OwnJobThatAClientJoinsTakesNobodysPlace) {
  for (int i = 0; i < 20; ++i) {
    SubmitAs(0, absl::StrCat("m", i), JobPriority::kPreload);
    EXPECT_TRUE(SubmitAs(7, absl::StrCat("m", i)).joined);
  }
  EXPECT_OK(queue_.Submit(Task("more"), {.priority = JobPriority::kClient, .uid = 7}));
  EXPECT_OK(queue_.Submit(Task("root's"), {.priority = JobPriority::kClient, .uid = 0}));
  EXPECT_EQ(queue_.TakeNext()->model(), "m0");
  EXPECT_EQ(queue_.TakeNext()->model(), "root's");
}

// Somebody else began it, with many before it.
TEST_F(JobQueueTest, WhoJoinsAJobWaitsForItAsForHisOwn) {
  for (const char* model : {"a", "b", "c"}) SubmitAs(7, model);
  EXPECT_TRUE(SubmitAs(8, "c").joined);
  EXPECT_THAT(RunAll(), ElementsAre("a", "c", "b"));
}

// He who began it and gave up does not pay for those who go on waiting, nor is his turn theirs.
TEST_F(JobQueueTest, WhoLeavesAJobLeavesItToThoseWhoStay) {
  std::vector<StageTicket> begun;
  for (const char* model : {"a", "b", "c"}) {
    begun.push_back(SubmitAs(7, model));
    SubmitAs(8, model);
  }
  SubmitAs(8, "d");  // so far he pays for nothing else
  EXPECT_THAT(queue_.Submit(Task("e"), {.uid = 7}), ReasonIs(Reason::kLimitExceeded, _));
  for (const StageTicket& ticket : begun) ticket.job->Leave(7);
  SubmitAs(7, "e");
  EXPECT_THAT(queue_.Submit(Task("f"), {.uid = 8}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("uid 8 has 4 jobs")));
  EXPECT_EQ(queue_.TakeNext()->model(), "a");
  EXPECT_EQ(queue_.TakeNext()->model(), "e");
}

TEST_F(JobQueueTest, CancelledJobsAreTakenOut) {
  const StageTicket ticket = Submit(Task("a"));
  Submit(Task("b"));
  EXPECT_THAT(queue_.TakeCancelled(), IsEmpty());
  ticket.job->Leave(*ticket.job->payer());
  EXPECT_THAT(queue_.TakeCancelled(), ElementsAre(ticket.job));
  EXPECT_THAT(queue_.JobsFor("a", ""), IsEmpty());
  EXPECT_THAT(queue_.JobsFor("b", "host"), SizeIs(1));
  EXPECT_THAT(queue_.JobsFor("b", "GPU-0"), IsEmpty());
}

TEST(JobQueueOptionsTest, LimitsAreChecked) {
  EXPECT_OK((JobQueueOptions{.queue_max = 4096, .jobs_per_uid_max = 4096}).Validate());
  EXPECT_FALSE((JobQueueOptions{.queue_max = 0}).Validate().ok());
  EXPECT_FALSE((JobQueueOptions{.queue_max = 4097}).Validate().ok());
  EXPECT_FALSE((JobQueueOptions{.jobs_per_uid_max = 0}).Validate().ok());
  EXPECT_FALSE((JobQueueOptions{.jobs_per_uid_max = 4097}).Validate().ok());
}

}  // namespace
}  // namespace weightd::testing
