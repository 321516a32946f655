#include "tests/support/executor/simulated_executor.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/status_macros.h"

namespace weightd::testing {

class SimulatedExecutor::SimulatedTask final : public TaskHandle::Impl {
 public:
  SimulatedTask(SimulatedExecutor& executor, std::shared_ptr<const bool> ended)
      : executor_(executor), ended_(std::move(ended)) {}
  void Join() override {
    executor_.WaitUntil([this] { return *ended_; }, absl::InfiniteFuture());
  }

 private:
  SimulatedExecutor& executor_;
  const std::shared_ptr<const bool> ended_;
};

absl::StatusOr<TaskHandle> SimulatedExecutor::Start(std::string name, std::function<void()> body) {
  if (start_fault_ != nullptr) RETURN_IF_ERROR(start_fault_());
  const auto ended = std::make_shared<bool>(false);
  actors_.Add(std::move(name), [ended, body = std::move(body)]() mutable {
    body();
    body = nullptr;
    *ended = true;
  });
  return TaskHandle(std::make_unique<SimulatedTask>(*this, ended));
}

void SimulatedExecutor::Launch(std::string name, std::function<void()> body) {
  actors_.Start(std::move(name), std::move(body));
}

// What holds at once costs the lock in neither executor.
bool SimulatedExecutor::Await(absl::Mutex& mu, const absl::Condition& condition,
                              absl::Duration timeout) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (condition.Eval()) return true;
  const absl::Time wake = now_ + timeout;
  mu.Unlock();
  WaitUntil(
      [&] {
        const absl::MutexLock lock(&mu);
        return condition.Eval();
      },
      wake);
  mu.Lock();
  return condition.Eval();
}

void SimulatedExecutor::Sleep(absl::Duration duration) {
  WaitUntil(nullptr, now_ + std::max(duration, absl::ZeroDuration()));
}

void SimulatedExecutor::WaitUntil(const std::function<bool()>& holds, absl::Time wake) {
  if (Actors::IsActor()) return Actors::Pause(holds, wake);
  while (now_ < wake && (holds == nullptr || !holds())) {
    if (Step()) continue;
    const absl::Time next = std::min(actors_.next_wake(), wake);
    if (next == absl::InfiniteFuture()) {
      std::cerr << "nothing goes on any more; waiting are: " << absl::StrJoin(actors_.names(), ", ")
                << std::endl;
      std::_Exit(1);
    }
    now_ = std::max(now_, next);
  }
}

bool SimulatedExecutor::Step() {
  const size_t count = ready();
  if (count == 0) return false;
  now_ += absl::Milliseconds(1);
  actors_.Resume(choose_(count));
  return true;
}

bool SimulatedExecutor::SkipToNextWake() {
  const absl::Time next = actors_.next_wake();
  if (next == absl::InfiniteFuture()) return false;
  now_ = std::max(now_, next);
  return true;
}

}  // namespace weightd::testing
