// The threads of Residency: workers that run jobs, and the reaper.

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
      if (!remade.ok()) next.job->Fail(remade.status());
    }
    if (stager != nullptr) runner_.Run(*next.job, *next.device, stager);
    absl::MutexLock lock(&mu_);
    std::erase(running_, next.job);
    const auto current = jobs_.find({next.job->model(), next.job->device()});
    if (current != jobs_.end() && current->second == next.job) jobs_.erase(current);
    next.job.reset();
  }
}

bool Residency::NextJob(QueuedJob& next) {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(
      +[](Residency* self)
           ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->shutdown_ || !self->queue_.empty(); },
      this));
  if (queue_.empty()) return false;
  // Cancelled jobs run too, to their quick end: whoever waits for them is told.
  next = std::move(queue_.front());
  queue_.pop_front();
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
