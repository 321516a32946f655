#ifndef WEIGHTD_DAEMON_MAIN_WATCHDOG_H_
#define WEIGHTD_DAEMON_MAIN_WATCHDOG_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/thread.h"
#include "daemon/main/service_manager.h"

namespace weightd {

// Tells the service manager that the daemon works, from time to time, as long as that is so.
//
// `probe` finds out, and gives one line on how the daemon is. Where it fails, or does not return,
// the manager hears nothing and in the end starts another daemon. On a thread of its own, which the
// daemon's work cannot hold up: only that it takes the locks that all work takes. Thread-safe.
class Watchdog {
 public:
  using Probe = std::function<absl::StatusOr<std::string>()>;

  // Does nothing where the manager does not look. `on_failure` is told of the first of several
  // failures in a row. `manager` must outlive it.
  static absl::StatusOr<std::unique_ptr<Watchdog>> Start(
      const ServiceManager& manager, Probe probe,
      std::function<void(const absl::Status&)> on_failure);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  // Stop().
  ~Watchdog();

  // Waits for a probe that runs.
  void Stop();

 private:
  Watchdog(const ServiceManager& manager, Probe probe,
           std::function<void(const absl::Status&)> on_failure);
  void Run();

  const ServiceManager& manager_;
  const Probe probe_;
  const std::function<void(const absl::Status&)> on_failure_;
  absl::Mutex mu_;
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  Thread thread_;  // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_WATCHDOG_H_
