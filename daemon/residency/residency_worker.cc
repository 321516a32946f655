// The threads of Residency: workers that run jobs, and the reaper.

#include <iterator>
#include <utility>

#include "daemon/residency/residency.h"
#include "daemon/residency/stage_run.h"

namespace weightd {

void Residency::Work() {
  while (std::shared_ptr<StageJob> job = NextJob()) {
    Run(job);
  }
  absl::MutexLock lock(&mu_);
  --working_;
}

void Residency::Run(const std::shared_ptr<StageJob>& job) {
  StageRun(context_, job).Run(*stager_);
  JobQueue::Places places;
  {
    absl::MutexLock lock(&mu_);
    queue_.Ended(job);
    places = queue_.TakePlaces();
  }
  JobQueue::Tell(places);
}

bool Residency::RunJob() {
  std::shared_ptr<StageJob> job;
  {
    absl::MutexLock lock(&mu_);
    job = queue_.TakeNext();
  }
  if (job == nullptr) return false;
  Run(job);
  return true;
}

bool Residency::HasWork() const { return (shutdown_ && queue_.empty()) || queue_.HasNext(); }

// Cancelled jobs run too, to their quick end: whoever waits for them is told.
std::shared_ptr<StageJob> Residency::NextJob() {
  std::shared_ptr<StageJob> job;
  JobQueue::Places places;
  {
    absl::MutexLock lock(&mu_);
    mu_.Await(absl::Condition(this, &Residency::HasWork));
    job = queue_.TakeNext();
    places = queue_.TakePlaces();
  }
  JobQueue::Tell(places);
  return job;
}

void Residency::ReapLater(std::vector<Doomed> doomed) {
  if (doomed.empty()) return;
  absl::MutexLock lock(&mu_);
  std::move(doomed.begin(), doomed.end(), std::back_inserter(doomed_));
}

bool Residency::Reap() {
  std::vector<Doomed> doomed;
  {
    absl::MutexLock lock(&mu_);
    doomed.swap(doomed_);
  }
  const bool any = !doomed.empty();
  evictor_.Free(std::move(doomed));
  if (!options_.on_wait || stager_->stuck().empty()) return any;
  stager_->LookAtStuck();
  return true;
}

void Residency::ReapUntilStopped() {
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(
          +[](Residency* self) ABSL_NO_THREAD_SAFETY_ANALYSIS {
            return self->reaper_stops_ || !self->doomed_.empty();
          },
          this));
      if (doomed_.empty()) return;
    }
    Reap();
  }
}

}  // namespace weightd
