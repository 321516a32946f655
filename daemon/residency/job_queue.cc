#include "daemon/residency/job_queue.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

bool Contains(const std::vector<std::string>& devices, const std::string& device) {
  return std::find(devices.begin(), devices.end(), device) != devices.end();
}

// They would make a copy of one model on one device.
bool Collide(const StageTask& a, const StageTask& b) {
  return a.ref.model == b.ref.model &&
         std::any_of(a.devices.begin(), a.devices.end(),
                     [&](const std::string& device) { return Contains(b.devices, device); });
}

// Whether what `job` does is all that `task` asks for.
bool Serves(const StageTask& job, const StageTask& task) {
  if (job.ref.model != task.ref.model || job.ref.revision != task.ref.revision ||
      job.ref.generation != task.ref.generation || (task.host_copy && !job.host_copy)) {
    return false;
  }
  // Only the volume says what is current; a copy of what is resident is no answer to that.
  if (task.source == StageSource::kVolume && job.source != StageSource::kVolume) return false;
  return std::all_of(task.devices.begin(), task.devices.end(),
                     [&](const std::string& device) { return Contains(job.devices, device); });
}

absl::Status LimitExceeded(const std::string& model, absl::string_view text) {
  return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
                         absl::StrCat("stage ", model, ": ", text));
}

}  // namespace

absl::Status JobQueueOptions::Validate() const {
  if (jobs_max < 1 || jobs_max > 16) {
    return absl::InvalidArgumentError(absl::StrCat("jobs_max is ", jobs_max, ", wanted 1 to 16"));
  }
  if (queue_max < 1 || queue_max > 4096) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue_max is ", queue_max, ", wanted 1 to 4096"));
  }
  if (jobs_per_uid_max < 1 || jobs_per_uid_max > 4096) {
    return absl::InvalidArgumentError(
        absl::StrCat("jobs_per_uid_max is ", jobs_per_uid_max, ", wanted 1 to 4096"));
  }
  return absl::OkStatus();
}

uint32_t JobQueue::CountOf(uint32_t uid) const {
  const auto queued = users_queued_by_.find(uid);
  uint32_t count = queued == users_queued_by_.end() ? 0 : queued->second;
  for (const auto& job : running_) {
    if (job->task().uid == uid && IsUsers(job->priority()) && !job->final()) ++count;
  }
  return count;
}

absl::Status JobQueue::CheckLimits(const StageTask& task, JobPriority priority) const {
  if (!IsUsers(priority)) {
    if (queue_.size() - users_queued_ < kOwnJobsMax) return absl::OkStatus();
    return LimitExceeded(task.ref.model,
                         absl::StrCat(kOwnJobsMax, " jobs of the daemon itself wait already"));
  }
  const uint32_t reserve = priority == JobPriority::kOperator ? kOperatorJobsReserve : 0;
  if (users_queued_ >= options_.queue_max + reserve) {
    return LimitExceeded(task.ref.model,
                         absl::StrCat(users_queued_, " jobs wait already, queue_max"));
  }
  if (CountOf(task.uid) >= options_.jobs_per_uid_max) {
    return LimitExceeded(task.ref.model, absl::StrCat("uid ", task.uid, " has ", CountOf(task.uid),
                                                      " jobs, jobs_per_uid_max"));
  }
  return absl::OkStatus();
}

absl::StatusOr<StageTicket> JobQueue::Submit(StageTask task, const StageCaller& caller) {
  for (const auto& job : JobsFor(task.ref.model, "")) {
    if (!Serves(job->task(), task)) continue;
    const JobPriority before = job->priority();
    if (!job->Join(caller)) continue;
    MoveUp(job, before);
    return StageTicket{.job = job, .joined = true};
  }
  RETURN_IF_ERROR(CheckLimits(task, caller.priority));
  const Place place = {.priority = caller.priority, .id = next_id_++};
  auto job = std::make_shared<StageJob>(JobId(place.id), std::move(task));
  job->Join(caller);
  by_model_[job->model()].push_back(job);
  Insert(place, job);
  return StageTicket{.job = std::move(job), .joined = false};
}

void JobQueue::Insert(const Place& place, const std::shared_ptr<StageJob>& job) {
  const auto at = queue_.emplace(place, Waiting{.job = job}).first;
  if (IsUsers(place.priority)) {
    ++users_queued_;
    ++users_queued_by_[job->task().uid];
  }
  places_changed_ = true;
  if (MayRun(*job) && (next_ == queue_.end() || IsBefore(*at, *next_))) next_ = at;
}

// `next_` is to be found again then.
JobQueue::Queue::iterator JobQueue::Remove(Queue::iterator at) {
  if (IsUsers(at->first.priority)) {
    --users_queued_;
    const auto count = users_queued_by_.find(at->second.job->task().uid);
    if (--count->second == 0) users_queued_by_.erase(count);
  }
  places_changed_ = true;
  return queue_.erase(at);
}

void JobQueue::MoveUp(const std::shared_ptr<StageJob>& job, JobPriority before) {
  const JobPriority now = job->priority();
  const auto at = queue_.find({.priority = before, .id = job->id().value()});
  if (now == before || at == queue_.end()) return;  // as urgent as before, or it runs
  Remove(at);
  FindNext();
  Insert({.priority = now, .id = job->id().value()}, job);
}

bool JobQueue::MayRun(const StageJob& job) const {
  return places_.HasFor(job) &&
         std::none_of(running_.begin(), running_.end(),
                      [&](const auto& running) { return Collide(running->task(), job.task()); });
}

uint64_t JobQueue::TurnOf(uint32_t uid) const {
  const auto turn = turns_.find(uid);
  return turn == turns_.end() ? 0 : turn->second;
}

bool JobQueue::IsBefore(const Queue::value_type& a, const Queue::value_type& b) const {
  if (IsUsers(a.first.priority) && IsUsers(b.first.priority)) {
    const uint64_t turn_a = TurnOf(a.second.job->task().uid);
    const uint64_t turn_b = TurnOf(b.second.job->task().uid);
    if (turn_a != turn_b) return turn_a < turn_b;
  }
  return a.first < b.first;
}

void JobQueue::FindNext() {
  next_ = queue_.end();
  for (auto at = queue_.begin(); at != queue_.end(); ++at) {
    // Those of users stand before those of the daemon.
    if (next_ != queue_.end() && !IsUsers(at->first.priority)) return;
    if (!MayRun(*at->second.job)) continue;
    if (next_ == queue_.end() || IsBefore(*at, *next_)) next_ = at;
  }
}

std::shared_ptr<StageJob> JobQueue::TakeNext() {
  if (next_ == queue_.end()) return nullptr;
  std::shared_ptr<StageJob> job = next_->second.job;
  if (IsUsers(next_->first.priority)) turns_[job->task().uid] = next_turn_++;
  Remove(next_);
  running_.push_back(job);
  places_.Take(*job);
  FindNext();
  return job;
}

void JobQueue::Ended(const std::shared_ptr<StageJob>& job) {
  std::erase(running_, job);
  places_.Give(*job);
  Forget(job);
  FindNext();
  places_changed_ = true;
}

void JobQueue::Forget(const std::shared_ptr<StageJob>& job) {
  const auto jobs = by_model_.find(job->model());
  if (jobs == by_model_.end()) return;
  std::erase(jobs->second, job);
  if (jobs->second.empty()) by_model_.erase(jobs);
  if (CountOf(job->task().uid) == 0) turns_.erase(job->task().uid);
}

std::vector<std::shared_ptr<StageJob>> JobQueue::TakeCancelled() {
  std::vector<std::shared_ptr<StageJob>> cancelled;
  for (auto at = queue_.begin(); at != queue_.end();) {
    if (!at->second.job->cancelled()) {
      ++at;
      continue;
    }
    cancelled.push_back(at->second.job);
    at = Remove(at);
    Forget(cancelled.back());
  }
  if (!cancelled.empty()) FindNext();
  return cancelled;
}

void JobQueue::CancelAll() {
  for (const auto& [place, waiting] : queue_) waiting.job->Cancel();
  for (const auto& job : running_) job->Cancel();
}

std::vector<std::shared_ptr<StageJob>> JobQueue::JobsFor(const std::string& model,
                                                         const std::string& device) const {
  std::vector<std::shared_ptr<StageJob>> found;
  const auto jobs = by_model_.find(model);
  if (jobs == by_model_.end()) return found;
  for (const auto& job : jobs->second) {
    if (job->final()) continue;
    if (device.empty() || Contains(job->task().devices, device)) found.push_back(job);
  }
  return found;
}

bool JobQueue::IsEnding(const std::string& model) const {
  return std::any_of(running_.begin(), running_.end(),
                     [&](const auto& job) { return job->model() == model && job->final(); });
}

std::vector<JobQueue::Waiting*> JobQueue::UsersInTurn() {
  struct InTurn {
    uint32_t round = 0;  // the how manieth of its uid
    uint64_t turn = 0;   // of its uid
    Place first;         // of its uid, which tells those apart that were not served yet
    Place place;
    Waiting* waiting = nullptr;
  };
  struct Uid {
    uint32_t jobs = 0;
    Place first;
  };
  std::vector<InTurn> jobs;
  std::unordered_map<uint32_t, Uid> uids;
  for (auto& [place, waiting] : queue_) {
    if (!IsUsers(place.priority)) break;
    const uint32_t uid = waiting.job->task().uid;
    Uid& of_uid = uids.try_emplace(uid, Uid{.first = place}).first->second;
    jobs.push_back({.round = of_uid.jobs++,
                    .turn = TurnOf(uid),
                    .first = of_uid.first,
                    .place = place,
                    .waiting = &waiting});
  }
  std::sort(jobs.begin(), jobs.end(), [](const InTurn& a, const InTurn& b) {
    return std::tie(a.round, a.turn, a.first, a.place) <
           std::tie(b.round, b.turn, b.first, b.place);
  });
  std::vector<Waiting*> in_turn;
  in_turn.reserve(jobs.size());
  for (const InTurn& job : jobs) in_turn.push_back(job.waiting);
  return in_turn;
}

JobQueue::Places JobQueue::TakePlaces() {
  Places places;
  if (!std::exchange(places_changed_, false)) return places;
  places.version = ++places_version_;
  uint32_t ahead = running();
  const auto tell = [&](Waiting& waiting) {
    if (waiting.told_ahead != ahead) places.jobs_ahead.emplace_back(waiting.job, ahead);
    waiting.told_ahead = ahead++;
  };
  for (Waiting* const waiting : UsersInTurn()) tell(*waiting);
  for (auto& [place, waiting] : queue_) {
    if (!IsUsers(place.priority)) tell(waiting);
  }
  return places;
}

void JobQueue::Tell(const Places& places) {
  for (const auto& [job, jobs_ahead] : places.jobs_ahead) {
    job->SetJobsAhead(jobs_ahead, places.version);
  }
}

std::vector<std::string> JobQueue::DescribeRunning() const {
  std::vector<std::string> lines;
  for (const std::shared_ptr<StageJob>& job : running_) {
    const StageSnapshot snapshot = job->snapshot();
    const bool is_planning = snapshot.phase <= StagePhase::kPlanning;
    lines.push_back(absl::StrCat(
        "stage ", job->model(), ", job ", job->id().value(), ": ",
        is_planning ? "looking at its volume" : "after ",
        is_planning ? ""
                    : absl::StrCat(snapshot.bytes_done, " of ", snapshot.bytes_total, " bytes")));
  }
  return lines;
}

}  // namespace weightd
