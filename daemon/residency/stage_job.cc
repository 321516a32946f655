#include "daemon/residency/stage_job.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/check.h"

namespace weightd {
namespace {

constexpr absl::Duration kProgressInterval = absl::Milliseconds(100);

}  // namespace

std::string LaneOf(const std::set<uint64_t>& volumes) {
  return volumes.empty() ? "" : absl::StrCat("volume ", absl::StrJoin(volumes, " "));
}

StageJob::StageJob(JobId id, StageTask task) : id_(id), task_(std::move(task)) {
  snapshot_.job = id_;
  snapshot_.model = task_.ref.model;
  snapshot_.devices = task_.devices;
  lane_ = task_.lane;
}

std::string StageJob::lane() const {
  absl::MutexLock lock(&mu_);
  return lane_;
}

void StageJob::set_lane(std::string lane) {
  absl::MutexLock lock(&mu_);
  lane_ = std::move(lane);
}

std::string StageJob::devices_text() const { return absl::StrJoin(task_.devices, ", "); }

bool StageJob::Join(const StageCaller& caller) {
  absl::MutexLock lock(&mu_);
  if (snapshot_.final() || cancelled_.load()) return false;
  if (caller.restage && refuses_restage_) return false;
  const uint32_t user = caller.user();
  auto callers = std::find_if(callers_.begin(), callers_.end(),
                              [user](const Callers& known) { return known.user == user; });
  if (callers == callers_.end()) callers = callers_.insert(callers_.end(), {.user = user});
  ++callers->count;
  callers->stays = callers->stays || caller.detached || caller.pin;
  callers->priority = std::max(callers->priority, caller.priority);
  wishes_.pin = wishes_.pin || caller.pin;
  wishes_.restage = wishes_.restage || caller.restage;
  priority_ = std::max(priority_, caller.priority);
  return true;
}

void StageJob::Leave(uint32_t user) {
  absl::MutexLock lock(&mu_);
  const auto callers = std::find_if(callers_.begin(), callers_.end(), [user](const Callers& known) {
    return known.user == user && known.count > 0;
  });
  WEIGHTD_CHECK(callers != callers_.end());
  if (--callers->count == 0 && !callers->stays) callers_.erase(callers);
  if (callers_.empty() && !snapshot_.final()) Cancel();
}

JobUsers StageJob::users() const {
  absl::MutexLock lock(&mu_);
  JobUsers users;
  for (const Callers& callers : callers_) users.emplace(callers.user, callers.priority);
  return users;
}

std::optional<uint32_t> StageJob::payer() const {
  absl::MutexLock lock(&mu_);
  for (const Callers& callers : callers_) {
    if (callers.user != kDaemonUser) return callers.user;
  }
  return std::nullopt;
}

StageWishes StageJob::wishes() const {
  absl::MutexLock lock(&mu_);
  return wishes_;
}

bool StageJob::RefuseRestage() {
  absl::MutexLock lock(&mu_);
  if (!wishes_.restage) refuses_restage_ = true;
  return refuses_restage_;
}

JobPriority StageJob::priority() const {
  absl::MutexLock lock(&mu_);
  return priority_;
}

uint64_t StageJob::Observe(Observer observer) {
  const auto listening = std::make_shared<Listening>(
      [observer = std::move(observer)](const std::shared_ptr<const StageSnapshot>& snapshot) {
        observer(*snapshot);
      });
  uint64_t id = 0;
  {
    absl::MutexLock lock(&mu_);
    listening->Put(std::make_shared<const StageSnapshot>(snapshot_));
    id = next_observer_++;
    observers_[id] = listening;
  }
  listening->Deliver();
  return id;
}

void StageJob::Unobserve(uint64_t id) {
  std::shared_ptr<Listening> listening;
  {
    absl::MutexLock lock(&mu_);
    const auto found = observers_.find(id);
    if (found == observers_.end()) return;
    listening = std::move(found->second);
    observers_.erase(found);
  }
  listening->Stop();
}

std::vector<std::shared_ptr<StageJob::Listening>> StageJob::listeners() const {
  absl::MutexLock lock(&mu_);
  std::vector<std::shared_ptr<Listening>> all;
  all.reserve(observers_.size());
  for (const auto& [id, listening] : observers_) all.push_back(listening);
  return all;
}

void StageJob::Tell() {
  for (const auto& listening : listeners()) listening->Deliver();
}

void StageJob::Notify() {
  if (observers_.empty()) return;
  const auto now = std::make_shared<const StageSnapshot>(snapshot_);
  for (const auto& [id, listening] : observers_) listening->PutLatest(now);
}

StageSnapshot StageJob::snapshot() const {
  absl::MutexLock lock(&mu_);
  return snapshot_;
}

bool StageJob::final() const {
  absl::MutexLock lock(&mu_);
  return snapshot_.final();
}

void StageJob::SetJobsAhead(uint32_t jobs, uint64_t version) {
  {
    absl::MutexLock lock(&mu_);
    if (version < places_version_) return;
    places_version_ = version;
    if (snapshot_.phase != StagePhase::kQueued || snapshot_.jobs_ahead == jobs) return;
    snapshot_.jobs_ahead = jobs;
    Notify();
  }
  Tell();
}

void StageJob::EnterPhase(StagePhase phase, absl::Time now) {
  {
    absl::MutexLock lock(&mu_);
    WEIGHTD_CHECK(phase > snapshot_.phase);
    snapshot_.phase = phase;
    snapshot_.jobs_ahead = 0;
    if (phase == StagePhase::kReading) reading_since_ = now;
    Notify();
  }
  Tell();
}

void StageJob::EnterQueueAgain() {
  {
    absl::MutexLock lock(&mu_);
    WEIGHTD_CHECK(snapshot_.phase == StagePhase::kPlanning);
    was_planned_ = true;
    snapshot_.phase = StagePhase::kQueued;
    Notify();
  }
  Tell();
}

bool StageJob::was_planned() const {
  absl::MutexLock lock(&mu_);
  return was_planned_;
}

void StageJob::SetTotal(uint64_t bytes_total) {
  absl::MutexLock lock(&mu_);
  snapshot_.bytes_total = bytes_total;
}

void StageJob::SetBytesDone(uint64_t bytes_done, absl::Time now) {
  {
    absl::MutexLock lock(&mu_);
    if (snapshot_.final()) return;  // a reader that was left comes back late
    snapshot_.bytes_done = bytes_done;
    const double seconds = absl::ToDoubleSeconds(now - reading_since_);
    if (seconds > 0) {
      snapshot_.bytes_per_second = static_cast<uint64_t>(static_cast<double>(bytes_done) / seconds);
    }
    if (now - last_notified_ < kProgressInterval) return;
    last_notified_ = now;
    Notify();
  }
  Tell();
}

bool StageJob::Finish(const std::vector<std::shared_ptr<const CopyHold>>& holds,
                      bool already_resident, const StageWishes& met) {
  {
    absl::MutexLock lock(&mu_);
    if ((wishes_.pin && !met.pin) || (wishes_.restage && !met.restage)) return false;
    snapshot_.phase = StagePhase::kDone;
    for (const auto& hold : holds) snapshot_.contents.push_back(hold->held().content);
    snapshot_.already_resident = already_resident;
    snapshot_.holds = holds;
    Notify();
    snapshot_.holds.clear();  // the caller has them still: nothing is given back under the lock
  }
  for (const auto& listening : listeners()) listening->DeliverAll();
  return true;
}

void StageJob::Fail(absl::Status status) {
  {
    absl::MutexLock lock(&mu_);
    snapshot_.phase = StagePhase::kFailed;
    snapshot_.status = std::move(status);
    Notify();
  }
  Tell();
}

}  // namespace weightd
