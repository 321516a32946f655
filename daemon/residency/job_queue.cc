#include "daemon/residency/job_queue.h"

#include <algorithm>
#include <iterator>
#include <limits>
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

// Users of one job who are told apart; others who wait for it stand with these.
constexpr size_t kUsersOfJobMax = 64;

JobUsers UsersOf(const StageJob& job) {
  JobUsers users = job.users();
  while (users.size() > kUsersOfJobMax) users.erase(std::prev(users.end()));
  return users;
}

// True when that was the last.
bool Decrement(std::unordered_map<uint32_t, uint32_t>& counts, uint32_t uid) {
  const auto count = counts.find(uid);
  if (--count->second > 0) return false;
  counts.erase(count);
  return true;
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
  const auto pays = [uid](const StageJob& job) {
    return !job.task().by_daemon && !job.final() && job.payer() == uid;
  };
  uint32_t count = 0;
  for (const auto& [place, waiting] : queue_) count += pays(*waiting.job) ? 1 : 0;
  for (const auto& job : running_) count += pays(*job) ? 1 : 0;
  return count;
}

absl::Status JobQueue::CheckLimits(const std::string& model, const StageCaller& caller) const {
  if (!IsUsers(caller.priority)) {
    if (queue_.size() - users_queued_ < kOwnJobsMax) return absl::OkStatus();
    return LimitExceeded(model,
                         absl::StrCat(kOwnJobsMax, " jobs of the daemon itself wait already"));
  }
  const uint32_t reserve = caller.priority == JobPriority::kOperator ? kOperatorJobsReserve : 0;
  if (users_queued_ >= options_.queue_max + reserve) {
    return LimitExceeded(model, absl::StrCat(users_queued_, " jobs wait already, queue_max"));
  }
  const uint32_t count = CountOf(caller.uid);
  if (count >= options_.jobs_per_uid_max) {
    return LimitExceeded(
        model, absl::StrCat("uid ", caller.uid, " has ", count, " jobs, jobs_per_uid_max"));
  }
  return absl::OkStatus();
}

void JobQueue::AddUser(const StageCaller& caller, JobUsers& users) {
  const auto known = users.find(caller.user());
  if (known != users.end()) {
    known->second = std::max(known->second, caller.priority);
  } else if (users.size() < kUsersOfJobMax) {
    users.emplace(caller.user(), caller.priority);
  }
}

absl::StatusOr<StageTicket> JobQueue::Submit(StageTask task, const StageCaller& caller) {
  for (const auto& job : JobsFor(task.ref.model, "")) {
    if (!Serves(job->task(), task)) continue;
    const JobPriority before = job->priority();
    if (!job->Join(caller)) continue;
    MoveUp(job, before, caller);
    return StageTicket{.job = job, .user = caller.user(), .joined = true};
  }
  RETURN_IF_ERROR(CheckLimits(task.ref.model, caller));
  const Place place = {.priority = caller.priority, .id = next_id_++};
  task.by_daemon = !IsUsers(caller.priority);
  auto job = std::make_shared<StageJob>(JobId(place.id), std::move(task));
  job->Join(caller);
  by_model_[job->model()].push_back(job);
  Waiting waiting = {.job = job};
  AddUser(caller, waiting.users);
  Insert(place, std::move(waiting));
  return StageTicket{.job = std::move(job), .user = caller.user(), .joined = false};
}

void JobQueue::Insert(const Place& place, Waiting waiting) {
  const auto at = queue_.emplace(place, std::move(waiting)).first;
  if (!at->second.job->task().by_daemon) ++users_queued_;
  for (const auto& [uid, priority] : at->second.users) {
    ++waited_for_by_[uid];
    turns_.try_emplace(uid, ArrivalTurn());
  }
  places_changed_ = true;
  if (MayRun(at->second) && (next_ == queue_.end() || IsBefore(*at, *next_))) next_ = at;
}

// `next_` is to be found again then.
JobQueue::Waiting JobQueue::Remove(Queue::iterator at) {
  Waiting waiting = std::move(at->second);
  queue_.erase(at);
  if (!waiting.job->task().by_daemon) --users_queued_;
  for (const auto& [uid, priority] : waiting.users) {
    if (Decrement(waited_for_by_, uid)) turns_.erase(uid);
  }
  places_changed_ = true;
  return waiting;
}

void JobQueue::MoveUp(const std::shared_ptr<StageJob>& job, JobPriority before,
                      const StageCaller& caller) {
  const auto at = queue_.find({.priority = before, .id = job->id().value()});
  if (at == queue_.end()) return;  // it runs
  const bool is_known = at->second.users.contains(caller.user());
  if (is_known && job->priority() == before) return;
  Waiting waiting = Remove(at);
  AddUser(caller, waiting.users);
  FindNext();
  Insert({.priority = job->priority(), .id = job->id().value()}, std::move(waiting));
}

bool JobQueue::MayRun(const Waiting& waiting) const {
  const StageTask& task = waiting.job->task();
  return places_.HasFor(waiting.job->lane(), waiting.users) &&
         std::none_of(running_.begin(), running_.end(),
                      [&](const auto& running) { return Collide(running->task(), task); });
}

uint64_t JobQueue::TurnOf(const JobUsers& users) const {
  uint64_t longest = std::numeric_limits<uint64_t>::max();
  for (const auto& [uid, priority] : users) {
    longest = std::min(longest, turns_.at(uid));
  }
  return longest;
}

bool JobQueue::IsBefore(const Queue::value_type& a, const Queue::value_type& b) const {
  const uint64_t turn_a = TurnOf(a.second.users);
  const uint64_t turn_b = TurnOf(b.second.users);
  return turn_a != turn_b ? turn_a < turn_b : a.first < b.first;
}

void JobQueue::Prune(Waiting& waiting) {
  const JobUsers left = waiting.job->users();
  for (auto user = waiting.users.begin(); user != waiting.users.end();) {
    if (left.contains(user->first)) {
      ++user;
      continue;
    }
    if (Decrement(waited_for_by_, user->first)) turns_.erase(user->first);
    user = waiting.users.erase(user);
  }
}

void JobQueue::FindNext() {
  next_ = queue_.end();
  for (auto at = queue_.begin(); at != queue_.end(); ++at) {
    // One whom all have left is cancelled, and taken out.
    if (at->second.users.size() > 1) Prune(at->second);
    if (!MayRun(at->second)) continue;
    if (next_ == queue_.end() || IsBefore(*at, *next_)) next_ = at;
    // The daemon's own come last, in their order.
    if (!IsUsers(at->first.priority)) return;
  }
}

std::shared_ptr<StageJob> JobQueue::TakeNext() {
  if (next_ == queue_.end()) return nullptr;
  const Waiting waiting = Remove(next_);
  last_turn_ += 2;
  for (const auto& [uid, priority] : waiting.job->users()) {
    if (waited_for_by_.contains(uid)) turns_[uid] = last_turn_;
  }
  running_.push_back(waiting.job);
  places_.Take(*waiting.job, waiting.users);
  FindNext();
  return waiting.job;
}

void JobQueue::LeavePlace(const std::shared_ptr<StageJob>& job) {
  std::erase(running_, job);
  places_.Give(*job);
  places_changed_ = true;
}

void JobQueue::Ended(const std::shared_ptr<StageJob>& job) {
  LeavePlace(job);
  Forget(job);
  FindNext();
}

bool JobQueue::Move(const std::shared_ptr<StageJob>& job, const std::string& lane) {
  const JobUsers users = UsersOf(*job);
  job->set_lane(lane);
  if (!places_.HasFor(lane, users)) return false;
  places_.Give(*job);
  places_.Take(*job, users);
  FindNext();
  return true;
}

void JobQueue::PutBack(const std::shared_ptr<StageJob>& job) {
  LeavePlace(job);
  FindNext();
  Insert({.priority = job->priority(), .id = job->id().value()},
         {.job = job, .users = UsersOf(*job)});
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
    if (!at->second.job->cancelled()) {
      ++at;
      continue;
    }
    cancelled.push_back(at->second.job);
    Remove(at++);
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
  // Where a user would have it.
  struct Turn {
    uint32_t round = 0;  // the how manieth of the user's
    uint64_t turn = 0;   // of the user
    Place first;         // of the user's jobs: tells those apart who were not served yet
  };
  struct InTurn {
    Turn turn;
    Place place;
    Waiting* waiting = nullptr;
  };
  const auto key = [](const Turn& turn) { return std::tie(turn.round, turn.turn, turn.first); };
  std::vector<InTurn> jobs;
  std::unordered_map<uint32_t, Turn> next_of;
  for (auto& [place, waiting] : queue_) {
    if (!IsUsers(place.priority)) break;
    std::optional<Turn> best;
    for (const auto& [uid, priority] : waiting.users) {
      const auto next =
          next_of.try_emplace(uid, Turn{.turn = TurnOf({{uid, priority}}), .first = place});
      Turn& turn = next.first->second;
      if (!best.has_value() || key(turn) < key(*best)) best = turn;
      ++turn.round;
    }
    jobs.push_back({.turn = best.value_or(Turn()), .place = place, .waiting = &waiting});
  }
  std::sort(jobs.begin(), jobs.end(), [&key](const InTurn& a, const InTurn& b) {
    return std::tuple_cat(key(a.turn), std::tie(a.place)) <
           std::tuple_cat(key(b.turn), std::tie(b.place));
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
