// The threads of Residency: workers that run jobs, and the reaper.

#include <algorithm>

#include "absl/synchronization/blocking_counter.h"
#include "common/status_macros.h"
#include "daemon/residency/residency.h"

namespace weightd {

std::vector<Device*> Residency::CudaDevices() const {
  std::vector<Device*> cuda;
  for (const auto& device : devices_) {
    if (device->info().kind == DeviceKind::kCuda) cuda.push_back(device.get());
  }
  return cuda;
}

absl::StatusOr<std::unique_ptr<Stager>> Residency::MakeStager() const {
  return Stager::Create(options_.stager, CudaDevices());
}

void Residency::Work(absl::Status* start_status, absl::BlockingCounter* started) {
  absl::StatusOr<std::unique_ptr<Stager>> made = MakeStager();
  *start_status = made.status();
  if (made.ok()) {
    absl::MutexLock lock(&mu_);
    read_path_ = {.engine = (*made)->engine(),
                  .fallbacks = (*made)->fallbacks(),
                  .block_bytes = options_.stager.block_bytes,
                  .pool_bytes = options_.jobs_max * (*made)->pool().memory().size(),
                  .pool_pages = (*made)->pool().page_kind()};
  }
  started->DecrementCount();
  if (!made.ok()) return;

  std::unique_ptr<Stager> stager = *std::move(made);
  QueuedJob next;
  while (NextJob(next)) {
    if (stager == nullptr) {
      absl::StatusOr<std::unique_ptr<Stager>> remade = MakeStager();
      if (remade.ok()) stager = *std::move(remade);
      if (!remade.ok()) runner_.Fail(*next.job, remade.status());
    }
    if (stager != nullptr) runner_.Run(*next.job, *next.device, stager);
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
