#include "daemon/residency/job_queue.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"

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

bool IsClients(JobPriority priority) { return priority >= JobPriority::kOperator; }

}  // namespace

absl::Status JobQueueOptions::Validate() const {
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
  const auto queued = clients_queued_by_.find(uid);
  uint32_t count = queued == clients_queued_by_.end() ? 0 : queued->second;
  for (const auto& job : running_) {
    if (job->task().uid == uid && IsClients(job->priority()) && !job->final()) ++count;
  }
  return count;
}

absl::StatusOr<StageTicket> JobQueue::Submit(StageTask task, const StageCaller& caller) {
  for (const auto& job : JobsFor(task.ref.model, "")) {
    if (!Serves(job->task(), task)) continue;
    const JobPriority before = job->priority();
    if (!job->Join(caller)) continue;
    MoveUp(job, before);
    return StageTicket{.job = job, .joined = true};
  }
  if (!IsClients(caller.priority)) {
    if (queue_.size() - clients_queued_ >= kOwnJobsMax) {
      return LimitExceeded(task.ref.model,
                           absl::StrCat(kOwnJobsMax, " jobs of the daemon itself wait already"));
    }
  } else if (clients_queued_ >= options_.queue_max) {
    return LimitExceeded(task.ref.model,
                         absl::StrCat(clients_queued_, " jobs wait already, queue_max"));
  } else if (CountOf(task.uid) >= options_.jobs_per_uid_max) {
    return LimitExceeded(task.ref.model, absl::StrCat("uid ", task.uid, " has ", CountOf(task.uid),
                                                      " jobs, jobs_per_uid_max"));
  }
  const Place place = {.priority = caller.priority, .id = next_id_++};
  auto job = std::make_shared<StageJob>(JobId(place.id), std::move(task));
  job->Join(caller);
  by_model_[job->model()].push_back(job);
  Insert(place, job);
  return StageTicket{.job = std::move(job), .joined = false};
}

void JobQueue::Insert(const Place& place, const std::shared_ptr<StageJob>& job) {
  const auto at = queue_.emplace(place, job).first;
  if (IsClients(place.priority)) {
    ++clients_queued_;
    ++clients_queued_by_[job->task().uid];
  }
  ChangedFrom(place);
  const bool is_earlier = next_ == queue_.end() || place < next_->first;
  if (is_earlier && MayRun(*job)) next_ = at;
}

// `next_` is to be found again then.
JobQueue::Queue::iterator JobQueue::Remove(Queue::iterator at) {
  if (IsClients(at->first.priority)) {
    --clients_queued_;
    const auto count = clients_queued_by_.find(at->second->task().uid);
    if (--count->second == 0) clients_queued_by_.erase(count);
  }
  ChangedFrom(at->first);
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
  return std::none_of(running_.begin(), running_.end(),
                      [&](const auto& running) { return Collide(running->task(), job.task()); });
}

void JobQueue::FindNext() {
  next_ = std::find_if(queue_.begin(), queue_.end(),
                       [this](const auto& entry) { return MayRun(*entry.second); });
}

std::shared_ptr<StageJob> JobQueue::TakeNext() {
  if (next_ == queue_.end()) return nullptr;
  std::shared_ptr<StageJob> job = next_->second;
  Remove(next_);
  running_.push_back(job);
  FindNext();
  if (!queue_.empty()) ChangedFrom(queue_.begin()->first);
  return job;
}

void JobQueue::Ended(const std::shared_ptr<StageJob>& job) {
  std::erase(running_, job);
  Forget(job);
  FindNext();
  if (!queue_.empty()) ChangedFrom(queue_.begin()->first);
}

void JobQueue::Forget(const std::shared_ptr<StageJob>& job) {
  const auto jobs = by_model_.find(job->model());
  if (jobs == by_model_.end()) return;
  std::erase(jobs->second, job);
  if (jobs->second.empty()) by_model_.erase(jobs);
}

std::vector<std::shared_ptr<StageJob>> JobQueue::TakeCancelled() {
  std::vector<std::shared_ptr<StageJob>> cancelled;
  for (auto at = queue_.begin(); at != queue_.end();) {
    if (!at->second->cancelled()) {
      ++at;
      continue;
    }
    cancelled.push_back(at->second);
    Forget(at->second);
    at = Remove(at);
  }
  if (!cancelled.empty()) FindNext();
  return cancelled;
}

void JobQueue::CancelAll() {
  for (const auto& [place, job] : queue_) job->Cancel();
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

void JobQueue::ChangedFrom(const Place& place) {
  if (!changed_from_.has_value() || place < *changed_from_) changed_from_ = place;
}

JobQueue::Places JobQueue::TakePlaces() {
  Places places;
  if (!changed_from_.has_value()) return places;
  places.version = ++places_version_;
  uint32_t ahead = running();
  for (const auto& [place, job] : queue_) {
    if (!(place < *changed_from_)) places.jobs_ahead.emplace_back(job, ahead);
    ++ahead;
  }
  changed_from_.reset();
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
