#include "daemon/residency/stage_job.h"

#include <utility>

#include "common/check.h"

namespace weightd {
namespace {

constexpr absl::Duration kProgressInterval = absl::Milliseconds(100);

}  // namespace

StageJob::StageJob(JobId id, std::string model, std::string device, uint64_t bytes_per_second_max)
    : id_(id),
      model_(std::move(model)),
      device_(std::move(device)),
      bytes_per_second_max_(bytes_per_second_max) {
  snapshot_.job = id_;
  snapshot_.model = model_;
  snapshot_.device = device_;
}

bool StageJob::Join(const StageCaller& caller) {
  absl::MutexLock lock(&mu_);
  if (snapshot_.final() || cancelled_.load()) return false;
  ++interested_;
  detached_ = detached_ || caller.detached;
  wishes_.pin = wishes_.pin || caller.pin;
  wishes_.restage = wishes_.restage || caller.restage;
  return true;
}

void StageJob::Leave() {
  absl::MutexLock lock(&mu_);
  WEIGHTD_CHECK(interested_ > 0);
  --interested_;
  if (interested_ == 0 && !detached_ && !snapshot_.final()) Cancel();
}

StageWishes StageJob::wishes() const {
  absl::MutexLock lock(&mu_);
  return wishes_;
}

uint64_t StageJob::Observe(Observer observer) {
  absl::MutexLock lock(&mu_);
  observer(snapshot_);
  const uint64_t id = next_observer_++;
  observers_[id] = std::move(observer);
  return id;
}

void StageJob::Unobserve(uint64_t id) {
  absl::MutexLock lock(&mu_);
  observers_.erase(id);
}

StageSnapshot StageJob::snapshot() const {
  absl::MutexLock lock(&mu_);
  return snapshot_;
}

void StageJob::EnterPhase(StagePhase phase, absl::Time now) {
  absl::MutexLock lock(&mu_);
  WEIGHTD_CHECK(phase > snapshot_.phase);
  snapshot_.phase = phase;
  if (phase == StagePhase::kReading) reading_since_ = now;
  Notify();
}

void StageJob::SetTotal(uint64_t bytes_total) {
  absl::MutexLock lock(&mu_);
  snapshot_.bytes_total = bytes_total;
}

void StageJob::SetBytesDone(uint64_t bytes_done, absl::Time now) {
  absl::MutexLock lock(&mu_);
  snapshot_.bytes_done = bytes_done;
  const double seconds = absl::ToDoubleSeconds(now - reading_since_);
  if (seconds > 0) {
    snapshot_.bytes_per_second = static_cast<uint64_t>(static_cast<double>(bytes_done) / seconds);
  }
  if (now - last_notified_ < kProgressInterval) return;
  last_notified_ = now;
  Notify();
}

bool StageJob::Finish(std::shared_ptr<const GenerationContent> content, bool already_resident,
                      const StageWishes& met) {
  absl::MutexLock lock(&mu_);
  if ((wishes_.pin && !met.pin) || (wishes_.restage && !met.restage)) return false;
  snapshot_.phase = StagePhase::kDone;
  snapshot_.content = std::move(content);
  snapshot_.already_resident = already_resident;
  Notify();
  return true;
}

void StageJob::Fail(absl::Status status) {
  absl::MutexLock lock(&mu_);
  snapshot_.phase = StagePhase::kFailed;
  snapshot_.status = std::move(status);
  Notify();
}

void StageJob::Notify() {
  for (const auto& [id, observer] : observers_) observer(snapshot_);
}

}  // namespace weightd
