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

namespace weightd {
namespace {

// A thread that has nothing to do for so long ends.
constexpr absl::Duration kIdleMax = absl::Seconds(30);
constexpr char kThreadName[] = "volume";
// Of so many lanes the threads may all be there at once.
constexpr uint32_t kLanesMax = 8;

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

// What a Call() waits for.
struct VolumeThreads::Ticket {
  std::string what;
  std::set<uint64_t> volumes;
  absl::Duration silence;
  absl::Time end;
  // Guarded by Shared::mu.
  bool begun = false;
  bool done = false;
  absl::Time last_sign;  // when it was asked for, began or got on
};

struct VolumeThreads::Task {
  std::string what;
  std::function<void()> run;
  std::shared_ptr<Ticket> ticket;  // null: nobody waits
};

// What goes on at one set of volumes below the root; guarded by Shared::mu, but for the name.
struct VolumeThreads::Lane {
  explicit Lane(std::set<uint64_t> numbers) : volumes(std::move(numbers)) {}
  bool is_over() const { return tasks.empty() && threads == 0 && disposals.empty() && !disposer; }

  const std::set<uint64_t> volumes;
  std::deque<Task> tasks;
  uint32_t running = 0;
  uint32_t threads = 0;
  uint32_t idle = 0;
  std::deque<std::function<void()>> disposals;
  bool disposer = false;  // there is a thread for them
};

// Lives as long as the last thread, a stuck one too.
struct VolumeThreads::Shared : std::enable_shared_from_this<VolumeThreads::Shared> {
  // What a thread does now.
  struct Running {
    const Lane* lane;
    std::string what;
    absl::Time since;  // the last sign that it gets on
    std::shared_ptr<Ticket> ticket;
  };

  Shared(std::string volume_root, const VolumeThreadsOptions& thread_options)
      : root(std::move(volume_root)), options(thread_options) {}

  std::shared_ptr<Lane> LaneOf(const std::set<uint64_t>& volumes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void EndIfOver(const Lane& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  absl::Status Add(const std::set<uint64_t>& volumes, Task task) ABSL_LOCKS_EXCLUDED(mu);
  void Work(Lane& lane) ABSL_LOCKS_EXCLUDED(mu);
  void WorkOnDisposals(Lane& lane) ABSL_LOCKS_EXCLUDED(mu);
  void Run(Lane& lane, Task task) ABSL_LOCKS_EXCLUDED(mu);
  // A thread more where all are busy and there may be one.
  absl::Status GrowIfNeeded(const std::shared_ptr<Lane>& lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  bool IsStuck(const Running& one, absl::Time now) const {
    return now - one.since >= options.stall_timeout;
  }
  // Of one lane, or of all.
  VolumeThreadsState State(absl::Time now, const Lane* lane = nullptr) const
      ABSL_SHARED_LOCKS_REQUIRED(mu);
  // Why nothing can be asked there now, if so.
  absl::Status CheckUsable(const Lane& lane) const ABSL_SHARED_LOCKS_REQUIRED(mu);
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
  std::map<std::set<uint64_t>, std::shared_ptr<Lane>> lanes ABSL_GUARDED_BY(mu);
  std::list<Running> running ABSL_GUARDED_BY(mu);
  uint32_t threads ABSL_GUARDED_BY(mu) = 0;  // of all lanes, those for disposals not counted
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

std::shared_ptr<VolumeThreads::Lane> VolumeThreads::Shared::LaneOf(
    const std::set<uint64_t>& volumes) {
  std::shared_ptr<Lane>& lane = lanes[volumes];
  if (lane == nullptr) lane = std::make_shared<Lane>(volumes);
  return lane;
}

void VolumeThreads::Shared::EndIfOver(const Lane& lane) {
  if (lane.is_over()) lanes.erase(std::set<uint64_t>(lane.volumes));
}

VolumeThreadsState VolumeThreads::Shared::State(absl::Time now, const Lane* lane) const {
  VolumeThreadsState state;
  for (const auto& [volumes, one] : lanes) {
    if (lane == nullptr || one.get() == lane) state.queued += one->tasks.size();
  }
  for (const Running& one : running) {
    if (lane != nullptr && one.lane != lane) continue;
    ++state.running;
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

absl::Status VolumeThreads::Shared::CheckUsable(const Lane& lane) const {
  if (shut_down) return DrainingError(root);
  const bool is_full = threads >= kLanesMax * options.threads && lane.threads == 0;
  if (is_full || lane.running >= options.threads) {
    const VolumeThreadsState now = State(SteadyNow(), is_full ? nullptr : &lane);
    if (is_full || now.stuck >= options.threads) {
      return ErrorWithReason(
          absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
          absl::StrCat("root ", root, ": the volume does not answer: all ",
                       is_full ? threads : options.threads, " threads for it hang, the first for ",
                       absl::FormatDuration(absl::Trunc(now.stuck_for, absl::Seconds(1))), " (",
                       now.stuck_what, ")"));
    }
  }
  if (lane.tasks.size() >= options.queue_max) {
    return ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kVolumeBusy,
                           absl::StrCat("root ", root, ": ", lane.tasks.size(),
                                        " calls wait for the volume already, at most "
                                        "storage.volume_queue_max may; try again"));
  }
  return absl::OkStatus();
}

absl::Status VolumeThreads::Shared::GrowIfNeeded(const std::shared_ptr<Lane>& lane) {
  const bool may_grow = lane->threads < options.threads && threads < kLanesMax * options.threads;
  if (lane->idle > lane->tasks.size() || !may_grow) return absl::OkStatus();
  absl::Status started = Thread::StartDetached(
      kThreadName, [shared = shared_from_this(), lane] { shared->Work(*lane); });
  if (!started.ok()) return started;
  ++lane->threads;
  ++threads;
  return absl::OkStatus();
}

absl::Status VolumeThreads::Shared::Add(const std::set<uint64_t>& volumes, Task task) {
  absl::MutexLock lock(&mu);
  const std::shared_ptr<Lane> lane = LaneOf(volumes);
  absl::Status status = CheckUsable(*lane);
  if (status.ok()) {
    // With some threads, one more would only be quicker.
    const absl::Status grown = GrowIfNeeded(lane);
    if (!grown.ok() && lane->threads == 0) status = Annotate(grown, absl::StrCat("root ", root));
  }
  if (status.ok()) lane->tasks.push_back(std::move(task));
  EndIfOver(*lane);
  return status;
}

void VolumeThreads::Shared::Run(Lane& lane, Task task) {
  std::list<Running>::iterator at;
  {
    absl::MutexLock lock(&mu);
    at = running.insert(
        running.end(),
        {.lane = &lane, .what = task.what, .since = SteadyNow(), .ticket = task.ticket});
    ++lane.running;
  }
  current_shared = this;
  current_running = &*at;
  task.run();
  task.run = nullptr;  // what it owns goes here, not under the lock
  current_shared = current_running = nullptr;
  absl::MutexLock lock(&mu);
  --lane.running;
  running.erase(at);
  if (task.ticket != nullptr) task.ticket->done = true;
}

void VolumeThreads::Shared::Work(Lane& lane) {
  while (true) {
    Task task;
    {
      absl::MutexLock lock(&mu);
      const auto has_work = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu) {
        return shut_down || !lane.tasks.empty();
      };
      ++lane.idle;
      mu.AwaitWithTimeout(absl::Condition(&has_work), kIdleMax);
      --lane.idle;
      if (lane.tasks.empty()) {
        --lane.threads;
        --threads;
        EndIfOver(lane);
        return;
      }
      task = std::move(lane.tasks.front());
      lane.tasks.pop_front();
      if (task.ticket != nullptr) {
        task.ticket->begun = true;
        task.ticket->last_sign = SteadyNow();
      }
    }
    Run(lane, std::move(task));
  }
}

void VolumeThreads::Shared::WorkOnDisposals(Lane& lane) {
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mu);
      const auto has_work = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu) {
        return shut_down || !lane.disposals.empty();
      };
      mu.AwaitWithTimeout(absl::Condition(&has_work), kIdleMax);
      if (lane.disposals.empty()) {
        lane.disposer = false;
        EndIfOver(lane);
        return;
      }
      task = std::move(lane.disposals.front());
      lane.disposals.pop_front();
    }
    task();
  }
}

absl::Status VolumeThreads::Submit(VolumeWork call, std::function<void()> task) {
  return shared_->Add(call.volumes,
                      {.what = std::move(call.what), .run = std::move(task), .ticket = nullptr});
}

void VolumeThreads::Dispose(const std::set<uint64_t>& volumes, std::function<void()> task) {
  absl::MutexLock lock(&shared_->mu);
  const std::shared_ptr<Lane> lane = shared_->LaneOf(volumes);
  lane->disposals.push_back(std::move(task));
  if (lane->disposer) return;
  // Without a thread now it waits for the next one.
  lane->disposer = Thread::StartDetached(kThreadName, [shared = shared_, lane] {
                     shared->WorkOnDisposals(*lane);
                   }).ok();
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
  const auto lane = lanes.find(ticket.volumes);
  const Lane* const waits_in = lane == lanes.end() ? nullptr : lane->second.get();
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
    VolumeWork call, std::function<void()> work, const Patience& patience) {
  auto ticket = std::make_shared<Ticket>();
  if (IsOwnThread()) {
    Beat(call.what);
    work();
    ticket->done = true;
    return ticket;
  }
  const absl::Time now = SteadyNow();
  ticket->what = call.what;
  ticket->volumes = call.volumes;
  ticket->silence = std::min(patience.silence.value_or(stall_timeout()), patience.total);
  ticket->end = now + patience.total;
  ticket->last_sign = now;
  RETURN_IF_ERROR(shared_->Add(
      call.volumes, {.what = std::move(call.what), .run = std::move(work), .ticket = ticket}));
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
  absl::MutexLock lock(&shared_->mu);
  const Ticket& ticket = **asked_;
  const bool ended = shared_->Await(ticket, absl::InfiniteDuration());
  if (ticket.done) return absl::OkStatus();
  return ended ? DrainingError(shared_->root) : shared_->Late(ticket);
}

void VolumeThreads::Wait::Drop() {
  std::function<void()> dropped;  // after the lock
  absl::MutexLock lock(&shared_->mu);
  if ((*asked_)->begun) return;
  const auto lane = shared_->lanes.find((*asked_)->volumes);
  if (lane == shared_->lanes.end()) return;
  std::deque<Task>& tasks = lane->second->tasks;
  const auto waiting = std::find_if(tasks.begin(), tasks.end(),
                                    [&](const auto& task) { return task.ticket == *asked_; });
  if (waiting == tasks.end()) return;
  dropped = std::move(waiting->run);
  tasks.erase(waiting);
}

void VolumeThreads::Shutdown() {
  std::vector<std::deque<Task>> dropped;  // after the lock
  absl::MutexLock lock(&shared_->mu);
  shared_->shut_down = true;
  for (const auto& [volumes, lane] : shared_->lanes) {
    dropped.push_back(std::exchange(lane->tasks, {}));
  }
}

}  // namespace weightd
