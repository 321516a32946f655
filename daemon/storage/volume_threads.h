#ifndef WEIGHTD_DAEMON_STORAGE_VOLUME_THREADS_H_
#define WEIGHTD_DAEMON_STORAGE_VOLUME_THREADS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "daemon/storage/volume_work.h"

namespace weightd {

struct VolumeTicket;

struct VolumeThreadsOptions {
  uint32_t threads = 8;                              // of each lane, 1..64
  uint32_t queue_max = 256;                          // calls of a lane that wait, 1..65536
  absl::Duration stall_timeout = absl::Seconds(60);  // of one call
  absl::Status Validate() const;
};

// How a root's threads are, now.
struct VolumeThreadsState {
  uint32_t running = 0;  // calls that threads make
  uint32_t queued = 0;
  // Those that take longer than `stall_timeout`: the volume does not answer them.
  uint32_t stuck = 0;
  absl::Duration stuck_for;  // the longest of them
  std::string stuck_what;    // what that one does: "list models--a--b"
};

// The threads of one root, on which everything that its volume may keep waiting is done: each call
// of Volume and File, scans. A volume that hangs so takes these threads and no others. Calls that
// touch other volumes, mounts below the root, have lanes of their own, with places and a queue
// each: a mount that hangs does not keep the rest of the root waiting. There are threads for the
// places of 32 lanes at most.
//
// Who waits keeps the deadline, not who works: Call() returns in time whatever its work does. What
// it abandons may go on for ever, so work owns all that it touches; its thread is used again once
// the work has come back. Threads are made as they are needed, end when nothing is to do for a
// while, and are never joined.
//
// Thread-safe.
class VolumeThreads {
 public:
  // `root` is for messages. INVALID_ARGUMENT for options out of their range.
  static absl::StatusOr<std::shared_ptr<VolumeThreads>> Create(std::string root,
                                                               const VolumeThreadsOptions& options);
  VolumeThreads(const VolumeThreads&) = delete;
  VolumeThreads& operator=(const VolumeThreads&) = delete;
  // Shutdown().
  ~VolumeThreads();

  // Runs `task` on one of the threads, for the first of its users. After an error it never runs:
  // UNAVAILABLE/VOLUME_BUSY when `queue_max` wait, UNAVAILABLE/VOLUME_STUCK when every thread that
  // it may have is stuck, UNAVAILABLE/DRAINING after Shutdown(), RESOURCE_EXHAUSTED without a
  // thread.
  absl::Status Submit(VolumeWork call, std::function<void()> task);

  // How long a call is waited for.
  struct Patience {
    std::optional<absl::Duration> silence =
        {};  // after its last sign that it gets on; stall_timeout
    absl::Duration total = absl::InfiniteDuration();
  };
  // Runs `work` and waits for what it returns. An error of its own: those of Submit(),
  // DEADLINE_EXCEEDED/VOLUME_STUCK when it takes longer than `patience`, and
  // UNAVAILABLE/VOLUME_BUSY when it did not begin in that time, with root, call and time.
  // On a thread of the same root it runs at once.
  template <typename T>
  absl::StatusOr<T> Call(VolumeWork call, std::function<absl::StatusOr<T>()> work,
                         const Patience& patience);
  template <typename T>
  absl::StatusOr<T> Call(VolumeWork call, std::function<absl::StatusOr<T>()> work) {
    return Call<T>(std::move(call), std::move(work), Patience());
  }

  // A call that goes on while its owner does other things.
  template <typename T>
  class Pending;
  // What Call() does, in two steps: Pending::Await() gives what that would return. `patience`
  // counts from here.
  template <typename T>
  Pending<T> Begin(VolumeWork call, std::function<absl::StatusOr<T>()> work,
                   const Patience& patience);

  // Runs `task`, which gives something of a lane back (closes a file), at any time later; one after
  // the other, without a bound but that of what there is to give back, and after Shutdown() too.
  // Never fails.
  void Dispose(const VolumeLane& lane, std::function<void()> task);

  // Tells what the calling thread, if it is one of a root's, does now, and that it got on: work of
  // many calls is not stuck, and its waiter goes on waiting, while each of them is answered.
  static void Beat(absl::string_view what);
  // Of the call which the calling thread makes; of nothing on a thread of no root.
  static VolumeLane CurrentLane();
  // Whether the calling thread is one of these, or works for one.
  bool IsOwnThread() const;

  // What the calling thread works for, so that a helper of it can do the same.
  class Place;
  static Place CurrentPlace();

  // Every Call() that waits returns UNAVAILABLE/DRAINING at once, and so do all later ones; what
  // did not begin never does. Stuck threads are let be.
  void Shutdown();

  VolumeThreadsState state() const;
  const std::string& root() const;
  absl::Duration stall_timeout() const;

 private:
  struct Shared;
  using Ticket = VolumeTicket;
  class Wait;

  explicit VolumeThreads(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  absl::StatusOr<std::shared_ptr<Ticket>> Ask(const VolumeWork& call, std::function<void()> work,
                                              const Patience& patience);

  const std::shared_ptr<Shared> shared_;
};

// Of a helper thread, which ends before the work that started it does: its calls count as that
// work's. Nothing where that work is on no thread of a root.
class VolumeThreads::Place {
 public:
  // From here on the calling thread works there, for the rest of its life.
  void Enter() const;

 private:
  friend class VolumeThreads;
  void* shared_ = nullptr;
  void* running_ = nullptr;
};

// Whoever waits for a call. Thread-compatible.
class VolumeThreads::Wait {
 public:
  Wait(Wait&& other) = default;
  Wait& operator=(Wait&& other) = delete;
  // What did not begin never does.
  ~Wait();

  // Whether Await() would return at once, after `time` at the latest.
  bool IsOverWithin(absl::Duration time) const;
  // Until the work has ended: OK then. After an error it may still run.
  absl::Status Await();

 private:
  friend class VolumeThreads;
  Wait(std::shared_ptr<Shared> shared, VolumeWork call,
       absl::StatusOr<std::shared_ptr<Ticket>> asked)
      : shared_(std::move(shared)), call_(std::move(call)), asked_(std::move(asked)) {}
  // In the lanes of those who have joined meanwhile, too.
  void WaitForAllUsers();
  void Drop();

  std::shared_ptr<Shared> shared_;  // null where another has it
  VolumeWork call_;
  absl::StatusOr<std::shared_ptr<Ticket>> asked_;
};

template <typename T>
class VolumeThreads::Pending {
 public:
  // Whether Await() would return at once, after `time` at the latest.
  bool IsOverWithin(absl::Duration time) const { return wait_.IsOverWithin(time); }
  // Once.
  absl::StatusOr<T> Await() {
    const absl::Status ran = wait_.Await();
    if (!ran.ok()) return ran;
    return std::move(**result_);
  }

 private:
  friend class VolumeThreads;
  using Result = std::shared_ptr<std::optional<absl::StatusOr<T>>>;
  Pending(Wait wait, Result result) : wait_(std::move(wait)), result_(std::move(result)) {}

  Wait wait_;
  Result result_;
};

template <typename T>
VolumeThreads::Pending<T> VolumeThreads::Begin(VolumeWork call,
                                               std::function<absl::StatusOr<T>()> work,
                                               const Patience& patience) {
  const auto result = std::make_shared<std::optional<absl::StatusOr<T>>>();
  auto asked = Ask(
      call, [result, work = std::move(work)] { result->emplace(work()); }, patience);
  return Pending<T>(Wait(shared_, std::move(call), std::move(asked)), result);
}

template <typename T>
absl::StatusOr<T> VolumeThreads::Call(VolumeWork call, std::function<absl::StatusOr<T>()> work,
                                      const Patience& patience) {
  return Begin<T>(std::move(call), std::move(work), patience).Await();
}

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_VOLUME_THREADS_H_
