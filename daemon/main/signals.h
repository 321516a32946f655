#ifndef WEIGHTD_DAEMON_MAIN_SIGNALS_H_
#define WEIGHTD_DAEMON_MAIN_SIGNALS_H_

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace weightd {

// SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once with status
// 1. SIGHUP asks for the configuration to be read again. SIGPIPE is ignored.
//
// Create it before any other thread, which then inherits the blocked mask. Thread-safe.
class Signals {
 public:
  enum class Request { kStop, kReload };

  Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals();

  // Waits for the next request; several for a reload that were not taken yet are one. A drain that
  // was asked for stays so, and goes before a reload.
  Request Wait();

 private:
  void Run();

  absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  bool reload_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_SIGNALS_H_
