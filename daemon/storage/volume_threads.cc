#include "daemon/storage/volume_threads.h"

#include <algorithm>
#include <deque>
#include <list>
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
  absl::Duration silence;
  absl::Time end;
  // Guarded by Shared::mu.
  bool begun = false;
  bool done = false;
  absl::Time last_sign;  // when it was asked for, began or got on
};

// Lives as long as the last thread, a stuck one too.
struct VolumeThreads::Shared : std::enable_shared_from_this<VolumeThreads::Shared> {
  struct Task {
    std::string what;
    std::function<void()> run;
    std::shared_ptr<Ticket> ticket;  // null: nobody waits
  };
  // What a thread does now.
  struct Running {
    std::string what;
    absl::Time since;  // the last sign that it gets on
    std::shared_ptr<Ticket> ticket;
  };

  Shared(std::string volume_root, const VolumeThreadsOptions& thread_options)
      : root(std::move(volume_root)), options(thread_options) {}

  absl::Status Add(Task task) ABSL_LOCKS_EXCLUDED(mu);
  void Work() ABSL_LOCKS_EXCLUDED(mu);
  void WorkOnDisposals() ABSL_LOCKS_EXCLUDED(mu);
  void Run(Task task) ABSL_LOCKS_EXCLUDED(mu);
  // A thread more where all are busy and there may be one.
  absl::Status GrowIfNeeded() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  bool IsStuck(const Running& one, absl::Time now) const {
    return now - one.since >= options.stall_timeout;
  }
  VolumeThreadsState State(absl::Time now) const ABSL_SHARED_LOCKS_REQUIRED(mu);
  // Why nothing can be asked of the volume now, if so.
  absl::Status CheckUsable() const ABSL_SHARED_LOCKS_REQUIRED(mu);
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
  std::deque<Task> tasks ABSL_GUARDED_BY(mu);
  std::list<Running> running ABSL_GUARDED_BY(mu);
  uint32_t threads ABSL_GUARDED_BY(mu) = 0;
  uint32_t idle ABSL_GUARDED_BY(mu) = 0;
  std::deque<std::function<void()>> disposals ABSL_GUARDED_BY(mu);
  bool disposer ABSL_GUARDED_BY(mu) = false;  // there is a thread for them
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

VolumeThreadsState VolumeThreads::Shared::State(absl::Time now) const {
  VolumeThreadsState state;
  state.running = static_cast<uint32_t>(running.size());
  state.queued = static_cast<uint32_t>(tasks.size());
  for (const Running& one : running) {
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

absl::Status VolumeThreads::Shared::CheckUsable() const {
  if (shut_down) return DrainingError(root);
  if (running.size() >= options.threads) {
    const VolumeThreadsState now = State(SteadyNow());
    if (now.stuck >= options.threads) {
      return ErrorWithReason(
          absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
          absl::StrCat("root ", root, ": the volume does not answer: all ", options.threads,
                       " threads for it hang, the first for ",
                       absl::FormatDuration(absl::Trunc(now.stuck_for, absl::Seconds(1))), " (",
                       now.stuck_what, ")"));
    }
  }
  if (tasks.size() >= options.queue_max) {
    return ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kVolumeBusy,
                           absl::StrCat("root ", root, ": ", tasks.size(),
                                        " calls wait for the volume already, at most "
                                        "storage.volume_queue_max may; try again"));
  }
  return absl::OkStatus();
}

absl::Status VolumeThreads::Shared::GrowIfNeeded() {
  if (idle > tasks.size() || threads >= options.threads) return absl::OkStatus();
  absl::Status started =
      Thread::StartDetached(kThreadName, [shared = shared_from_this()] { shared->Work(); });
  if (started.ok()) ++threads;
  return started;
}

absl::Status VolumeThreads::Shared::Add(Task task) {
  absl::MutexLock lock(&mu);
  RETURN_IF_ERROR(CheckUsable());
  // With some threads, one more would only be quicker.
  if (absl::Status grown = GrowIfNeeded(); !grown.ok() && threads == 0) {
    return Annotate(grown, absl::StrCat("root ", root));
  }
  tasks.push_back(std::move(task));
  return absl::OkStatus();
}

void VolumeThreads::Shared::Run(Task task) {
  std::list<Running>::iterator at;
  {
    absl::MutexLock lock(&mu);
    at = running.insert(running.end(),
                        {.what = task.what, .since = SteadyNow(), .ticket = task.ticket});
  }
  current_shared = this;
  current_running = &*at;
  task.run();
  task.run = nullptr;  // what it owns goes here, not under the lock
  current_shared = current_running = nullptr;
  absl::MutexLock lock(&mu);
  running.erase(at);
  if (task.ticket != nullptr) task.ticket->done = true;
}

void VolumeThreads::Shared::Work() {
  while (true) {
    Task task;
    {
      absl::MutexLock lock(&mu);
      const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu) {
        return shut_down || !tasks.empty();
      };
      ++idle;
      mu.AwaitWithTimeout(absl::Condition(&has_work), kIdleMax);
      --idle;
      if (tasks.empty()) {
        --threads;
        return;
      }
      task = std::move(tasks.front());
      tasks.pop_front();
      if (task.ticket != nullptr) {
        task.ticket->begun = true;
        task.ticket->last_sign = SteadyNow();
      }
    }
    Run(std::move(task));
  }
}

void VolumeThreads::Shared::WorkOnDisposals() {
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mu);
      const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu) {
        return shut_down || !disposals.empty();
      };
      mu.AwaitWithTimeout(absl::Condition(&has_work), kIdleMax);
      if (disposals.empty()) {
        disposer = false;
        return;
      }
      task = std::move(disposals.front());
      disposals.pop_front();
    }
    task();
  }
}

absl::Status VolumeThreads::Submit(std::string what, std::function<void()> task) {
  return shared_->Add({.what = std::move(what), .run = std::move(task), .ticket = nullptr});
}

void VolumeThreads::Dispose(std::function<void()> task) {
  absl::MutexLock lock(&shared_->mu);
  shared_->disposals.push_back(std::move(task));
  if (shared_->disposer) return;
  // Without a thread now it waits for the next one.
  shared_->disposer =
      Thread::StartDetached(kThreadName, [shared = shared_] { shared->WorkOnDisposals(); }).ok();
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
  if (!ticket.begun && State(SteadyNow()).stuck == 0) {
    return ErrorWithReason(
        absl::StatusCode::kUnavailable, Reason::kVolumeBusy,
        absl::StrCat("root ", root, ": ", ticket.what, " could not begin within ", time,
                     ": the volume is slow, and ", tasks.size(), " calls wait for it"));
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
    std::string what, std::function<void()> work, const Patience& patience) {
  auto ticket = std::make_shared<Ticket>();
  if (IsOwnThread()) {
    Beat(what);
    work();
    ticket->done = true;
    return ticket;
  }
  const absl::Time now = SteadyNow();
  ticket->what = what;
  ticket->silence = std::min(patience.silence.value_or(stall_timeout()), patience.total);
  ticket->end = now + patience.total;
  ticket->last_sign = now;
  RETURN_IF_ERROR(
      shared_->Add({.what = std::move(what), .run = std::move(work), .ticket = ticket}));
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
  const auto waiting = std::find_if(shared_->tasks.begin(), shared_->tasks.end(),
                                    [&](const auto& task) { return task.ticket == *asked_; });
  if (waiting == shared_->tasks.end()) return;
  dropped = std::move(waiting->run);
  shared_->tasks.erase(waiting);
}

void VolumeThreads::Shutdown() {
  std::deque<Shared::Task> dropped;  // after the lock
  absl::MutexLock lock(&shared_->mu);
  shared_->shut_down = true;
  dropped.swap(shared_->tasks);
}

}  // namespace weightd
