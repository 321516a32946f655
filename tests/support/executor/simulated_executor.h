#ifndef WEIGHTD_TESTS_SUPPORT_EXECUTOR_SIMULATED_EXECUTOR_H_
#define WEIGHTD_TESTS_SUPPORT_EXECUTOR_SIMULATED_EXECUTOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "common/executor.h"
#include "tests/support/executor/actors.h"

namespace weightd::testing {

// Tasks of which one runs at a time: from one wait to the next, with nothing in between. Which one
// goes on is chosen, and time passes as the owner says: a task that waits for it goes on soon
// after.
//
// The owner's thread lets tasks go on with the calls below. Where it waits itself, be it for the
// end of one, it does so until what it waits for is there; when that cannot be any more the process
// ends, with the names of the tasks.
class SimulatedExecutor final : public Executor {
 public:
  // Of so many that may go on, the number of the one that does.
  using Choose = std::function<uint64_t(uint64_t count)>;
  explicit SimulatedExecutor(Choose choose) : choose_(std::move(choose)) {}

  // Asked at each Start(): an error is its answer.
  void set_start_fault(std::function<absl::Status()> fault) { start_fault_ = std::move(fault); }

  absl::StatusOr<TaskHandle> Start(std::string name, std::function<void()> body) override;
  bool Await(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout) override;
  void Sleep(absl::Duration duration) override;
  absl::Time SteadyNow() const override { return now_; }

  // A task of the owner's, which nobody joins: runs until it waits for the first time.
  void Launch(std::string name, std::function<void()> body);
  // How many may go on.
  size_t ready() { return actors_.CountReady(now_); }
  // Lets one go on, which takes a millisecond. False when none may.
  bool Step();
  void Advance(absl::Duration duration) { now_ += duration; }
  // Time passes until the next task has waited long enough; false when none waits for time.
  bool SkipToNextWake();

  // On a task: others may go on first.
  static void Yield() { Actors::Yield(); }

 private:
  class SimulatedTask;

  // Until `holds` or `wake`.
  void WaitUntil(const std::function<bool()>& holds, absl::Time wake);

  const Choose choose_;
  std::function<absl::Status()> start_fault_;
  absl::Time now_ = absl::UnixEpoch();
  Actors actors_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_EXECUTOR_SIMULATED_EXECUTOR_H_
