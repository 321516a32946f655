#ifndef WEIGHTD_DAEMON_MAIN_SIGNALS_H_
#define WEIGHTD_DAEMON_MAIN_SIGNALS_H_

#include <thread>

#include "absl/synchronization/notification.h"

namespace weightd {

// SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once with status
// 1. SIGPIPE is ignored.
//
// Create it before any other thread, which then inherits the blocked mask. Thread-safe.
class Signals {
 public:
  Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals();

  // Waits for the first signal.
  void WaitForStop() { stop_.WaitForNotification(); }

 private:
  void Run();

  absl::Notification stop_;
  std::thread thread_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_SIGNALS_H_
