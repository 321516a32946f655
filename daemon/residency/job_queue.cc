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

bool IsDaemons(const StageJob& job) { return job.priority() < JobPriority::kOperator; }

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
  uint32_t count = 0;
  const auto add = [&](const std::shared_ptr<StageJob>& job) {
    if (job->task().uid == uid && !IsDaemons(*job) && !job->snapshot().final()) ++count;
  };
  for (const auto& job : running_) add(job);
  for (const auto& job : queue_) add(job);
  return count;
}

absl::StatusOr<StageTicket> JobQueue::Submit(StageTask task, const StageCaller& caller) {
  for (const auto& job : JobsFor(task.ref.model, "")) {
    if (!Serves(job->task(), task) || !job->Join(caller)) continue;
    TellPlaces();
    return StageTicket{.job = job, .joined = true};
  }
  if (queue_.size() >= options_.queue_max) {
    return LimitExceeded(task.ref.model,
                         absl::StrCat(queue_.size(), " jobs wait already, queue_max"));
  }
  if (caller.priority >= JobPriority::kOperator && CountOf(task.uid) >= options_.jobs_per_uid_max) {
    return LimitExceeded(task.ref.model, absl::StrCat("uid ", task.uid, " has ", CountOf(task.uid),
                                                      " jobs, jobs_per_uid_max"));
  }
  auto job = std::make_shared<StageJob>(JobId(next_id_++), std::move(task));
  job->Join(caller);
  queue_.push_back(job);
  TellPlaces();
  return StageTicket{.job = std::move(job), .joined = false};
}

size_t JobQueue::NextIndex() const {
  size_t best = queue_.size();
  for (size_t i = 0; i < queue_.size(); ++i) {
    const StageJob& job = *queue_[i];
    if (best < queue_.size() && job.priority() <= queue_[best]->priority()) continue;
    const bool may_run = std::none_of(running_.begin(), running_.end(), [&](const auto& running) {
      return Collide(running->task(), job.task());
    });
    if (may_run) best = i;
  }
  return best;
}

bool JobQueue::HasNext() const { return NextIndex() < queue_.size(); }

std::shared_ptr<StageJob> JobQueue::TakeNext() {
  const size_t index = NextIndex();
  if (index == queue_.size()) return nullptr;
  std::shared_ptr<StageJob> job = std::move(queue_[index]);
  queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(index));
  running_.push_back(job);
  TellPlaces();
  return job;
}

void JobQueue::Ended(const std::shared_ptr<StageJob>& job) { std::erase(running_, job); }

std::vector<std::shared_ptr<StageJob>> JobQueue::TakeCancelled() {
  std::vector<std::shared_ptr<StageJob>> cancelled;
  std::erase_if(queue_, [&](const std::shared_ptr<StageJob>& job) {
    if (!job->cancelled()) return false;
    cancelled.push_back(job);
    return true;
  });
  return cancelled;
}

void JobQueue::CancelAll() {
  for (const auto& job : queue_) job->Cancel();
  for (const auto& job : running_) job->Cancel();
}

std::vector<std::shared_ptr<StageJob>> JobQueue::JobsFor(const std::string& model,
                                                         const std::string& device) const {
  std::vector<std::shared_ptr<StageJob>> jobs;
  const auto add = [&](const std::shared_ptr<StageJob>& job) {
    if (job->model() != model || job->snapshot().final()) return;
    if (device.empty() || Contains(job->task().devices, device)) jobs.push_back(job);
  };
  for (const auto& job : running_) add(job);
  for (const auto& job : queue_) add(job);
  return jobs;
}

bool JobQueue::IsEnding(const std::string& model) const {
  return std::any_of(running_.begin(), running_.end(), [&](const auto& job) {
    return job->model() == model && job->snapshot().final();
  });
}

// How many run before each: those that run, and those that wait and are older or more urgent.
void JobQueue::TellPlaces() const {
  for (size_t i = 0; i < queue_.size(); ++i) {
    uint32_t ahead = running();
    for (size_t j = 0; j < queue_.size(); ++j) {
      const JobPriority other = queue_[j]->priority();
      const JobPriority own = queue_[i]->priority();
      if (other > own || (other == own && j < i)) ++ahead;
    }
    queue_[i]->SetJobsAhead(ahead);
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
