#include "daemon/storage/volume_threads.h"

#include <algorithm>
#include <deque>
#include <list>
#include <map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/steady_time.h"
#include "common/thread.h"
#include "daemon/storage/volume_crew.h"

namespace weightd {
namespace {

// A thread that has nothing to do for so long ends.
constexpr absl::Duration kIdleMax = absl::Seconds(30);
constexpr char kThreadName[] = "volume";
// Of so many lanes all threads may be busy at once.
constexpr uint32_t kBusyLanesMax = 32;
// Of so many lanes a file may be in closing.
constexpr uint32_t kClosingLanesMax = 64;
// How often who waits looks whether others have joined him.
constexpr absl::Duration kUsersInterval = absl::Milliseconds(200);

absl::Status CheckRange(absl::string_view name, uint64_t value, uint64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                         absl::StrCat("storage: ", name, " is ", value, ", wanted 1 to ", max));
}

}  // namespace

absl::Status VolumeThreadsOptions::Validate() const {
  RETURN_IF_ERROR(CheckRange("volume_threads", threads, 64));
  return CheckRange("volume_queue_max", queue_max, 65'536);
}

// Lives as long as the last thread, a stuck one too.
struct VolumeThreads::Shared : std::enable_shared_from_this<VolumeThreads::Shared> {
  // What a thread does now.
  struct Running {
    const VolumeCrew* crew;
    const VolumeCrew::Lane* lane;
    std::string what;
    absl::Time since;  // the last sign that it gets on
    std::shared_ptr<Ticket> ticket;
  };

  Shared(std::string volume_root, const VolumeThreadsOptions& thread_options)
      : root(std::move(volume_root)),
        options(thread_options),
        calls{.lane_threads_max = options.threads, .threads_max = kBusyLanesMax * options.threads},
        disposals{.lane_threads_max = 1, .threads_max = kClosingLanesMax} {}

  // In every lane that takes it; the error of the first where none does.
  absl::Status Add(const std::vector<VolumeLane>& names, const VolumeTask& task)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  absl::Status AddTo(const VolumeLane& name, const VolumeTask& task)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // What a thread does, until it has had nothing to do for long.
  void Work(VolumeCrew& crew) ABSL_LOCKS_EXCLUDED(mu);
  // A thread more where all are busy and there may be one.
  absl::Status GrowIfNeeded(VolumeCrew& crew) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  bool IsStuck(const Running& one, absl::Time now) const {
    return now - one.since >= options.stall_timeout;
  }
  // Of the calls, of one lane or of all.
  VolumeThreadsState State(absl::Time now, const VolumeCrew::Lane* lane = nullptr) const
      ABSL_SHARED_LOCKS_REQUIRED(mu);
  // Why nothing can be asked there now, if so.
  absl::Status CheckUsable(const VolumeCrew::Lane& lane) const ABSL_SHARED_LOCKS_REQUIRED(mu);
  // How much longer it is waited for.
  static absl::Duration Left(const Ticket& ticket) {
    return std::min(ticket.last_sign + ticket.silence, ticket.end) - SteadyNow();
  }
  // Until the call has ended, for `time` at most, or as long as it is waited for.
  bool Await(const Ticket& ticket, absl::Duration time) ABSL_SHARED_LOCKS_REQUIRED(mu);
  absl::Status Late(const Ticket& ticket) const ABSL_SHARED_LOCKS_REQUIRED(mu);

  const std::string root;
  const VolumeThreadsOptions options;

  mutable absl::Mutex mu;
  bool shut_down ABSL_GUARDED_BY(mu) = false;
  VolumeCrew calls ABSL_GUARDED_BY(mu);
  VolumeCrew disposals ABSL_GUARDED_BY(mu);
  std::list<Running> running ABSL_GUARDED_BY(mu);  // of the calls
};

namespace {

// Whose thread this is, and what it does: null on threads of nobody's.
thread_local void* current_shared = nullptr;
thread_local void* current_running = nullptr;

absl::Status DrainingError(absl::string_view root) {
  return ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kDraining,
                         absl::StrCat("root ", root, ": the daemon is shutting down"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<VolumeThreads>> VolumeThreads::Create(
    std::string root, const VolumeThreadsOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  return std::shared_ptr<VolumeThreads>(
      new VolumeThreads(std::make_shared<Shared>(std::move(root), options)));
}

VolumeThreads::~VolumeThreads() { Shutdown(); }

const std::string& VolumeThreads::root() const { return shared_->root; }
absl::Duration VolumeThreads::stall_timeout() const { return shared_->options.stall_timeout; }

VolumeThreadsState VolumeThreads::Shared::State(absl::Time now,
                                                const VolumeCrew::Lane* lane) const {
  VolumeThreadsState state;
  for (const VolumeCrew::Lane& one : calls.lanes) {
    if (lane != nullptr && &one != lane) continue;
    state.queued += static_cast<uint32_t>(one.second.tasks.size());
  }
  for (const Running& one : running) {
    if (lane != nullptr && one.lane != lane) continue;
    if (one.crew == &calls) ++state.running;
    if (!IsStuck(one, now)) continue;
    ++state.stuck;
    if (now - one.since <= state.stuck_for) continue;
    state.stuck_for = now - one.since;
    state.stuck_what = one.what;
  }
  return state;
}

VolumeThreadsState VolumeThreads::state() const {
  absl::MutexLock lock(&shared_->mu);
  return shared_->State(SteadyNow());
}

absl::Status VolumeThreads::Shared::CheckUsable(const VolumeCrew::Lane& lane) const {
  if (shut_down) return DrainingError(root);
  const bool lane_is_full = lane.second.running >= calls.MostOf(lane.first);
  if (lane_is_full || calls.threads >= calls.threads_max) {
    const uint32_t most = lane_is_full ? calls.MostOf(lane.first) : calls.threads_max;
    const VolumeThreadsState state = State(SteadyNow(), lane_is_full ? &lane : nullptr);
    if (state.stuck >= most && state.running >= most) {
      return ErrorWithReason(
          absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
          absl::StrCat("root ", root, ": the volume does not answer: all ", most,
                       " threads for it hang, the first for ",
                       absl::FormatDuration(absl::Trunc(state.stuck_for, absl::Seconds(1))), " (",
                       state.stuck_what, ")"));
    }
  }
  if (lane.second.tasks.size() >= options.queue_max) {
    return ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kVolumeBusy,
                           absl::StrCat("root ", root, ": ", lane.second.tasks.size(),
                                        " calls wait for the volume already, at most "
                                        "storage.volume_queue_max may; try again"));
  }
  return absl::OkStatus();
}

absl::Status VolumeThreads::Shared::GrowIfNeeded(VolumeCrew& crew) {
  if (crew.idle >= crew.CountReady() || crew.threads >= crew.threads_max) return absl::OkStatus();
  absl::Status started = Thread::StartDetached(
      kThreadName, [shared = shared_from_this(), &crew] { shared->Work(crew); });
  if (started.ok()) ++crew.threads;
  return started;
}

absl::Status VolumeThreads::Shared::Add(const std::vector<VolumeLane>& names,
                                        const VolumeTask& task) {
  absl::Status first_error;
  bool waits = false;
  for (const VolumeLane& name : names) {
    const absl::Status added = AddTo(name, task);
    if (added.ok()) waits = true;
    first_error.Update(added);
  }
  return waits ? absl::OkStatus() : first_error;
}

absl::Status VolumeThreads::Shared::AddTo(const VolumeLane& name, const VolumeTask& task) {
  const auto lane = calls.lanes.try_emplace(name).first;
  absl::Status status = CheckUsable(*lane);
  if (status.ok()) {
    lane->second.tasks.push_back(task);
    // With some threads, one more would only be quicker.
    status = GrowIfNeeded(calls);
    if (status.ok() || calls.threads > 0) {
      if (task.ticket != nullptr) task.ticket->lanes.push_back(name);
      return absl::OkStatus();
    }
    lane->second.tasks.pop_back();
    status = Annotate(status, absl::StrCat("root ", root));
  }
  calls.EndIfOver(lane);
  return status;
}

void VolumeThreads::Shared::Work(VolumeCrew& crew) {
  while (true) {
    VolumeTask task;
    VolumeCrew::Lanes::iterator lane;
    std::list<Running>::iterator at;
    {
      absl::MutexLock lock(&mu);
      const auto has_work = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
        return shut_down || crew.Next() != crew.lanes.end();
      };
      ++crew.idle;
      mu.AwaitWithTimeout(absl::Condition(&has_work), kIdleMax);
      --crew.idle;
      lane = crew.Next();
      if (lane == crew.lanes.end()) {
        --crew.threads;
        return;
      }
      task = crew.Take(lane);
      const absl::Time now = SteadyNow();
      if (task.ticket != nullptr) {
        task.run = std::move(task.ticket->run);
        task.ticket->begun = true;
        task.ticket->last_sign = now;
        crew.Forget(*task.ticket);  // this lane stays: something runs in it
      }
      at = running.insert(
          running.end(),
          {.crew = &crew, .lane = &*lane, .what = task.what, .since = now, .ticket = task.ticket});
    }
    current_shared = this;
    current_running = &*at;
    task.run();
    task.run = nullptr;  // what it owns goes here, not under the lock
    current_shared = current_running = nullptr;
    absl::MutexLock lock(&mu);
    running.erase(at);
    if (task.ticket != nullptr) task.ticket->done = true;
    crew.End(lane);
  }
}

absl::Status VolumeThreads::Submit(VolumeWork call, std::function<void()> task) {
  const std::vector<VolumeLane> lanes = {call.lanes().front()};
  const VolumeTask one = {.what = std::move(call.what), .run = std::move(task), .ticket = nullptr};
  absl::MutexLock lock(&shared_->mu);
  return shared_->Add(lanes, one);
}

void VolumeThreads::Dispose(const VolumeLane& lane, std::function<void()> task) {
  absl::MutexLock lock(&shared_->mu);
  shared_->disposals.lanes[lane].tasks.push_back(
      {.what = "close a file", .run = std::move(task), .ticket = nullptr});
  // Without a thread now it waits for the next one.
  (void)shared_->GrowIfNeeded(shared_->disposals);
}

VolumeThreads::Place VolumeThreads::CurrentPlace() {
  Place place;
  place.shared_ = current_shared;
  place.running_ = current_running;
  return place;
}

void VolumeThreads::Place::Enter() const {
  current_shared = shared_;
  current_running = running_;
}

bool VolumeThreads::IsOwnThread() const { return current_shared == shared_.get(); }

VolumeLane VolumeThreads::CurrentLane() {
  if (current_running == nullptr) return {};
  return static_cast<Shared::Running*>(current_running)->lane->first;  // its key: fixed
}

void VolumeThreads::Beat(absl::string_view what) {
  if (current_shared == nullptr) return;
  auto& shared = *static_cast<Shared*>(current_shared);
  auto& running = *static_cast<Shared::Running*>(current_running);
  absl::MutexLock lock(&shared.mu);
  running.what.assign(what.data(), what.size());
  running.since = SteadyNow();
  if (running.ticket != nullptr) running.ticket->last_sign = running.since;
}

absl::Status VolumeThreads::Shared::Late(const Ticket& ticket) const {
  const std::string time = absl::FormatDuration(ticket.silence);
  const auto lane = calls.lanes.find(ticket.lanes.front());
  const VolumeCrew::Lane* const waits_in = lane == calls.lanes.end() ? nullptr : &*lane;
  const VolumeThreadsState state = State(SteadyNow(), waits_in);
  if (!ticket.begun && state.stuck == 0) {
    return ErrorWithReason(
        absl::StatusCode::kUnavailable, Reason::kVolumeBusy,
        absl::StrCat("root ", root, ": ", ticket.what, " could not begin within ", time,
                     ": the volume is slow, and ", state.queued, " calls wait for it"));
  }
  return ErrorWithReason(
      absl::StatusCode::kDeadlineExceeded, Reason::kVolumeStuck,
      absl::StrCat("root ", root, ": ", ticket.what, " was not answered within ", time,
                   ticket.silence == options.stall_timeout ? " (storage.stall_timeout_ms)" : "",
                   "; the volume hangs, and the call is abandoned"));
}

bool VolumeThreads::Shared::Await(const Ticket& ticket, absl::Duration time) {
  const absl::Time until = SteadyNow() + time;
  const auto ended = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu) { return ticket.done || shut_down; };
  while (!ended()) {
    const absl::Duration left = std::min(Left(ticket), until - SteadyNow());
    if (left <= absl::ZeroDuration()) return false;
    mu.AwaitWithTimeout(absl::Condition(&ended), left);
  }
  return true;
}

absl::StatusOr<std::shared_ptr<VolumeThreads::Ticket>> VolumeThreads::Ask(
    const VolumeWork& call, std::function<void()> work, const Patience& patience) {
  auto ticket = std::make_shared<Ticket>();
  if (IsOwnThread()) {
    Beat(call.what);
    work();
    ticket->done = true;
    return ticket;
  }
  const absl::Time now = SteadyNow();
  ticket->what = call.what;
  ticket->run = std::move(work);
  ticket->silence = std::min(patience.silence.value_or(stall_timeout()), patience.total);
  ticket->end = now + patience.total;
  ticket->last_sign = now;
  const std::vector<VolumeLane> lanes = call.lanes();
  const VolumeTask task = {.what = call.what, .run = nullptr, .ticket = ticket};
  absl::MutexLock lock(&shared_->mu);
  RETURN_IF_ERROR(shared_->Add(lanes, task));
  return ticket;
}

VolumeThreads::Wait::~Wait() {
  if (shared_ != nullptr && asked_.ok()) Drop();
}

bool VolumeThreads::Wait::IsOverWithin(absl::Duration time) const {
  if (!asked_.ok()) return true;
  absl::MutexLock lock(&shared_->mu);
  const Ticket& ticket = **asked_;
  return shared_->Await(ticket, time) || Shared::Left(ticket) <= absl::ZeroDuration();
}

absl::Status VolumeThreads::Wait::Await() {
  RETURN_IF_ERROR(asked_.status());
  const absl::Duration interval =
      call_.users.may_change() ? kUsersInterval : absl::InfiniteDuration();
  while (!IsOverWithin(interval)) WaitForAllUsers();
  absl::MutexLock lock(&shared_->mu);
  const Ticket& ticket = **asked_;
  if (ticket.done) return absl::OkStatus();
  return shared_->shut_down ? DrainingError(shared_->root) : shared_->Late(ticket);
}

void VolumeThreads::Wait::WaitForAllUsers() {
  std::vector<VolumeLane> lanes = call_.lanes();
  absl::MutexLock lock(&shared_->mu);
  const Ticket& ticket = **asked_;
  if (ticket.begun) return;
  std::erase_if(lanes, [&](const VolumeLane& lane) {
    return std::count(ticket.lanes.begin(), ticket.lanes.end(), lane) != 0;
  });
  // Where it cannot wait, it waits where it does.
  (void)shared_->Add(lanes, {.what = ticket.what, .run = nullptr, .ticket = *asked_});
}

void VolumeThreads::Wait::Drop() {
  std::function<void()> dropped;  // after the lock
  absl::MutexLock lock(&shared_->mu);
  if ((*asked_)->begun) return;
  dropped = std::exchange((*asked_)->run, nullptr);
  shared_->calls.Forget(**asked_);
}

void VolumeThreads::Shutdown() {
  std::vector<std::deque<VolumeTask>> dropped;  // after the lock
  absl::MutexLock lock(&shared_->mu);
  shared_->shut_down = true;
  VolumeCrew::Lanes& lanes = shared_->calls.lanes;
  for (auto& [name, lane] : lanes) dropped.push_back(std::exchange(lane.tasks, {}));
  std::erase_if(lanes, [](const auto& lane) { return lane.second.running == 0; });
}

}  // namespace weightd
