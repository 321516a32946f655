// The threads of Residency: workers that run jobs, and the reaper.

#include <algorithm>

#include "daemon/residency/residency.h"

namespace weightd {

void Residency::Work() {
  QueuedJob next;
  while (NextJob(next)) {
    runner_.Run(*next.job, *next.device, *stager_);
    absl::MutexLock lock(&mu_);
    std::erase(running_, next.job);
    next.job.reset();
  }
}

std::deque<Residency::QueuedJob>::iterator Residency::FirstRunnable() {
  return std::find_if(queue_.begin(), queue_.end(), [this](const QueuedJob& queued) {
    mu_.AssertHeld();
    return std::none_of(running_.begin(), running_.end(), [&](const auto& job) {
      return job->model() == queued.job->model() && job->device() == queued.job->device();
    });
  });
}

bool Residency::HasWork() {
  return (shutdown_ && queue_.empty()) || FirstRunnable() != queue_.end();
}

bool Residency::NextJob(QueuedJob& next) {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(this, &Residency::HasWork));
  const auto found = FirstRunnable();
  if (found == queue_.end()) return false;
  // Cancelled jobs run too, to their quick end: whoever waits for them is told.
  next = std::move(*found);
  queue_.erase(found);
  running_.push_back(next.job);
  return true;
}

void Residency::Reap() {
  while (true) {
    std::vector<Doomed> doomed;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(
          +[](Residency* self) ABSL_NO_THREAD_SAFETY_ANALYSIS {
            return self->reaper_stops_ || !self->doomed_.empty();
          },
          this));
      if (doomed_.empty()) return;
      doomed.swap(doomed_);
    }
    FreeDoomed(std::move(doomed), table_, events_);
  }
}

}  // namespace weightd
