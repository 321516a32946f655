#ifndef WEIGHTD_DAEMON_MAIN_DRAIN_H_
#define WEIGHTD_DAEMON_MAIN_DRAIN_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/thread.h"
#include "daemon/main/logger.h"

// How a stop ends, whatever hangs.

namespace weightd {

// What a stop takes at most besides the leases' time (drain_grace): the steps of the drain, and
// then what ends the process where even those hang.
inline constexpr absl::Duration kDrainStepsTime = absl::Milliseconds(2500);
inline constexpr absl::Duration kStopTime = absl::Seconds(4);

// Ends the process with status 1 when a stop that was asked for takes longer than drain_grace and
// kStopTime: where a thread of the daemon hangs that nobody foresaw, or its start does. The log
// says what was being done. Made at the start, so that it needs nothing at the end. Thread-safe.
class StopGuard {
 public:
  // `logger` outlives it.
  static absl::StatusOr<std::unique_ptr<StopGuard>> Start(Logger& logger, absl::Duration grace);
  StopGuard(const StopGuard&) = delete;
  StopGuard& operator=(const StopGuard&) = delete;
  // The process ends by itself.
  ~StopGuard();

  // Of a stop that is asked for later.
  void set_grace(absl::Duration grace);
  // A stop is asked for: the time runs. Once.
  void Arm();
  // What is being done: for the log.
  void Enter(std::string step);

 private:
  StopGuard(Logger& logger, absl::Duration grace) : logger_(logger), grace_(grace) {}
  void Run();

  Logger& logger_;
  absl::Mutex mu_;
  absl::Duration grace_ ABSL_GUARDED_BY(mu_);
  std::string step_ ABSL_GUARDED_BY(mu_) = "start";
  bool armed_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  Thread thread_;  // last: it uses the rest
};

// The steps of a drain, each with the time that it may take: a step that hangs is left behind on
// its thread and told in the log, and the others follow. Thread-compatible.
class DrainSteps {
 public:
  // One step that runs.
  class Running;

  // `facts`: what is known of the daemon when a step hangs; it may hang itself.
  DrainSteps(StopGuard& guard, Logger& logger, std::function<std::string()> facts)
      : guard_(guard), logger_(logger), facts_(std::move(facts)) {}

  // Begins a step on a thread of its own. What it uses must live on if it is left behind.
  std::shared_ptr<Running> Begin(std::string name, std::function<void()> step);
  // Whether it ended in time; else it is left behind.
  bool Await(const std::shared_ptr<Running>& running, absl::Duration timeout);
  // Both.
  bool Run(std::string name, absl::Duration timeout, std::function<void()> step);

  // Of what a step itself found to hang.
  void LeaveBehind(std::string name, const std::string& detail);

  // Names of the steps that hang: what they use must not be destroyed.
  const std::vector<std::string>& left_behind() const { return left_behind_; }

 private:
  StopGuard& guard_;
  Logger& logger_;
  const std::function<std::string()> facts_;
  std::vector<std::string> left_behind_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_DRAIN_H_
