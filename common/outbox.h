#ifndef WEIGHTD_COMMON_OUTBOX_H_
#define WEIGHTD_COMMON_OUTBOX_H_

#include <deque>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace weightd {

// Tells one listener what happens, in order, with no lock held.
//
// Who changes state puts what there is to tell while it holds the lock that orders the changes, and
// delivers after it let go of that lock:
//
//   {
//     absl::MutexLock lock(&mu_);
//     state_ = ...;
//     outbox = listener_;
//     outbox->Put(state_);
//   }
//   outbox->Deliver();
//
// The listener is called by one thread at a time, in the order of the puts; once Stop() has
// returned it is not called any more. It may take locks and may put and deliver; it must not wait
// for anything that its caller does. Thread-safe; its own lock is the last in every order. Shared
// by those who put and those who stop.
template <typename T>
class Outbox {
 public:
  using Listener = std::function<void(const T&)>;

  explicit Outbox(Listener listener) : listener_(std::move(listener)) {}
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  // Behind what waits. Nothing after Stop().
  void Put(T value) {
    absl::MutexLock lock(&mu_);
    if (!stopped_) waiting_.push_back(std::move(value));
  }

  // In place of what waits: for a listener that needs the newest state alone.
  void PutLatest(T value) {
    std::deque<T> replaced;  // goes after the lock
    absl::MutexLock lock(&mu_);
    if (stopped_) return;
    replaced.swap(waiting_);
    waiting_.push_back(std::move(value));
  }

  // Calls the listener with what waits. Where another thread is at it, or the listener itself
  // calls this, that one goes on with it and this returns.
  void Deliver() {
    while (std::optional<T> next = Take()) {
      listener_(*next);
      next.reset();  // before somebody who waits goes on
      absl::MutexLock lock(&mu_);
      calling_ = false;
    }
  }

  // Likewise, and returns when all of it is told. Not for the listener.
  void DeliverAll() {
    Deliver();
    absl::MutexLock lock(&mu_);
    const auto told = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return !calling_ && (stopped_ || waiting_.empty());
    };
    mu_.Await(absl::Condition(&told));
  }

  // Drops what waits. Returns when the listener is not being called, unless it calls this itself.
  void Stop() {
    std::deque<T> dropped;  // goes after the lock
    absl::MutexLock lock(&mu_);
    stopped_ = true;
    dropped.swap(waiting_);
    if (calling_ && caller_ == std::this_thread::get_id()) return;
    const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !calling_; };
    mu_.Await(absl::Condition(&idle));
  }

 private:
  std::optional<T> Take() {
    absl::MutexLock lock(&mu_);
    if (calling_ || waiting_.empty()) return std::nullopt;
    std::optional<T> next = std::move(waiting_.front());
    waiting_.pop_front();
    calling_ = true;
    caller_ = std::this_thread::get_id();
    return next;
  }

  const Listener listener_;
  absl::Mutex mu_;  // never held while the listener runs
  std::deque<T> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  bool calling_ ABSL_GUARDED_BY(mu_) = false;
  std::thread::id caller_ ABSL_GUARDED_BY(mu_);  // while calling_
};

}  // namespace weightd

#endif  // WEIGHTD_COMMON_OUTBOX_H_
