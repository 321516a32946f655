#include "common/executor.h"

#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "common/status_macros.h"
#include "common/steady_time.h"
#include "common/thread.h"

namespace weightd {
namespace {

class ThreadTask final : public TaskHandle::Impl {
 public:
  explicit ThreadTask(Thread thread) : thread_(std::move(thread)) {}
  void Join() override { thread_.Join(); }

 private:
  Thread thread_;
};

}  // namespace

ThreadExecutor& ThreadExecutor::Get() {
  static ThreadExecutor executor;
  return executor;
}

absl::StatusOr<TaskHandle> ThreadExecutor::Start(std::string name, std::function<void()> body) {
  ASSIGN_OR_RETURN(Thread thread, Thread::Start(std::move(name), std::move(body)));
  return TaskHandle(std::make_unique<ThreadTask>(std::move(thread)));
}

bool ThreadExecutor::Await(absl::Mutex& mu, const absl::Condition& condition,
                           absl::Duration timeout) {
  return mu.AwaitWithTimeout(condition, timeout);
}

void ThreadExecutor::Sleep(absl::Duration duration) { absl::SleepFor(duration); }

absl::Time ThreadExecutor::SteadyNow() const { return weightd::SteadyNow(); }

}  // namespace weightd
