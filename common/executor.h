#ifndef WEIGHTD_COMMON_EXECUTOR_H_
#define WEIGHTD_COMMON_EXECUTOR_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

// What works side by side, as a seam: where a thread begins, where it waits for another, and the
// time that passes meanwhile. Tests have one that runs a part of one task at a time, in an order
// that they choose, in a time of its own (tests/support/executor/simulated_executor.h).
//
// What waits by other means (for the kernel, for a device) waits in any case.

namespace weightd {

// A task that was started, its owner's. As for a Thread: whatever the body waits for must end
// before Join(). Thread-compatible.
class TaskHandle {
 public:
  class Impl {
   public:
    virtual ~Impl() = default;
    // Returns when the body has returned. Once, not from the task itself.
    virtual void Join() = 0;
  };

  // No task; Join() does nothing.
  TaskHandle() = default;
  explicit TaskHandle(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
  TaskHandle(TaskHandle&&) noexcept = default;
  // The task before must have been joined.
  TaskHandle& operator=(TaskHandle&&) noexcept = default;
  TaskHandle(const TaskHandle&) = delete;
  TaskHandle& operator=(const TaskHandle&) = delete;
  // Joins.
  ~TaskHandle() { Join(); }

  bool joinable() const { return impl_ != nullptr; }
  void Join() {
    if (impl_ == nullptr) return;
    impl_->Join();
    impl_.reset();
  }

 private:
  std::unique_ptr<Impl> impl_;
};

// Thread-safe. Tasks and whoever owns them wait for each other with these calls alone.
class Executor {
 public:
  virtual ~Executor() = default;

  // Runs `body` side by side with the caller. Errors and `name` as Thread::Start.
  virtual absl::StatusOr<TaskHandle> Start(std::string name, std::function<void()> body) = 0;

  // As Mutex::AwaitWithTimeout: lets go of `mu` until `condition` holds, at most for `timeout`, and
  // has it again when it returns. Whether the condition holds then. absl::InfiniteDuration() waits
  // for as long as it takes. No other lock may be held.
  virtual bool Await(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) = 0;

  // For what nothing tells of. No lock may be held.
  virtual void Sleep(absl::Duration duration) = 0;

  // Time that never jumps; see steady_time.h.
  virtual absl::Time SteadyNow() const = 0;
};

// Threads of the process, and its time: what every program runs on. It has no state.
class ThreadExecutor final : public Executor {
 public:
  static ThreadExecutor& Get();

  absl::StatusOr<TaskHandle> Start(std::string name, std::function<void()> body) override;
  bool Await(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  void Sleep(absl::Duration duration) override;
  absl::Time SteadyNow() const override;
};

}  // namespace weightd

#endif  // WEIGHTD_COMMON_EXECUTOR_H_
