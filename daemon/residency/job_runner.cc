#include "daemon/residency/job_runner.h"

#include <utility>

#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr absl::Duration kEndingWait = absl::Seconds(1);

absl::Status DrainingError() {
  return ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kDraining,
                         "the daemon is shutting down");
}

}  // namespace

JobRunner::~JobRunner() {
  (void)Stop(absl::InfiniteFuture());
  std::vector<TaskHandle> workers;
  {
    absl::MutexLock lock(&mu_);
    workers = std::move(workers_);
  }
  for (TaskHandle& worker : workers) worker.Join();
}

absl::Status JobRunner::Start(uint32_t workers) {
  for (uint32_t i = 0; i < workers; ++i) {
    {
      absl::MutexLock lock(&mu_);
      ++working_;
    }
    RETURN_IF_ERROR(StartWorker());
  }
  return absl::OkStatus();
}

// It is counted already.
absl::Status JobRunner::StartWorker() {
  absl::StatusOr<TaskHandle> worker = executor_.Start("stage", [this] { Work(); });
  absl::MutexLock lock(&mu_);
  if (!worker.ok()) {
    --working_;
    return worker.status();
  }
  workers_.push_back(*std::move(worker));
  return absl::OkStatus();
}

void JobRunner::StartMore() {
  {
    absl::MutexLock lock(&mu_);
    if (stopping_ || idle_ > 0 || working_ >= queue_.running_max() || !queue_.HasNext()) return;
    ++working_;
  }
  (void)StartWorker();  // without one the job waits for those that there are
}

absl::StatusOr<StageTicket> JobRunner::Submit(StageTask task, const StageCaller& caller) {
  JobQueue::Places places;
  absl::StatusOr<StageTicket> ticket = DrainingError();
  {
    absl::MutexLock lock(&mu_);
    if (stopping_) return ticket;
    ticket = queue_.Submit(std::move(task), caller);
    places = queue_.TakePlaces();
  }
  JobQueue::Tell(places);
  StartMore();
  return ticket;
}

bool JobRunner::MoveTo(const std::shared_ptr<StageJob>& job, const std::string& lane) {
  bool moved = false;
  {
    absl::MutexLock lock(&mu_);
    moved = queue_.Move(job, lane);
  }
  if (moved) StartMore();  // in the place that it had
  return moved;
}

std::vector<std::shared_ptr<StageJob>> JobRunner::TakeCancelled() {
  std::vector<std::shared_ptr<StageJob>> cancelled;
  JobQueue::Places places;
  {
    absl::MutexLock lock(&mu_);
    cancelled = queue_.TakeCancelled();
    places = queue_.TakePlaces();
  }
  JobQueue::Tell(places);
  return cancelled;
}

std::vector<std::shared_ptr<StageJob>> JobRunner::JobsFor(const std::string& model,
                                                          const std::string& device) const {
  absl::MutexLock lock(&mu_);
  return queue_.JobsFor(model, device);
}

std::vector<std::shared_ptr<StageJob>> JobRunner::JobsLeftFor(const std::string& model,
                                                              const std::string& device) const {
  absl::MutexLock lock(&mu_);
  const auto ended = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !queue_.IsEnding(model); };
  executor_.Await(mu_, absl::Condition(&ended), kEndingWait);
  return queue_.JobsFor(model, device);
}

JobRunner::Counts JobRunner::counts() const {
  absl::MutexLock lock(&mu_);
  return {.running = queue_.running(), .queued = queue_.queued()};
}

std::vector<std::string> JobRunner::Stop(absl::Time deadline) {
  absl::MutexLock lock(&mu_);
  stopping_ = true;
  queue_.CancelAll();
  const auto ended = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return working_ == 0; };
  if (executor_.Await(mu_, absl::Condition(&ended), deadline - absl::Now())) return {};
  return queue_.DescribeRunning();
}

void JobRunner::Work() {
  while (const std::shared_ptr<StageJob> job = Next()) {
    const RunEnd end = run_(job);
    JobQueue::Places places;
    {
      absl::MutexLock lock(&mu_);
      end == RunEnd::kEnded ? queue_.Ended(job) : queue_.PutBack(job);
      places = queue_.TakePlaces();
    }
    JobQueue::Tell(places);
  }
  absl::MutexLock lock(&mu_);
  --working_;
}

std::shared_ptr<StageJob> JobRunner::Next() {
  std::shared_ptr<StageJob> job;
  JobQueue::Places places;
  {
    absl::MutexLock lock(&mu_);
    ++idle_;
    executor_.Await(mu_, absl::Condition(this, &JobRunner::HasWork), absl::InfiniteDuration());
    --idle_;
    job = queue_.TakeNext();
    places = queue_.TakePlaces();
  }
  JobQueue::Tell(places);
  StartMore();
  return job;
}

}  // namespace weightd
