#ifndef WEIGHTD_DAEMON_MAIN_SIGNALS_H_
#define WEIGHTD_DAEMON_MAIN_SIGNALS_H_

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/listener.h"
#include "common/thread.h"

namespace weightd {

// SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once with status
// 1. SIGHUP asks for the configuration to be read again. SIGPIPE is ignored.
//
// Create it before any other thread, which then inherits the blocked mask. Thread-safe.
class Signals {
 public:
  enum class Request { kStop, kReload };

  static absl::StatusOr<std::unique_ptr<Signals>> Start();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals();

  // Waits for the next request; several for a reload that were not taken yet are one. A drain that
  // was asked for stays so, and goes before a reload.
  Request Wait();
  // Calls `on_stop` when a drain is asked for, or at once where it was: whatever the thread that is
  // to Wait() does meanwhile. It must not block. Null is none; when this returns, the one before is
  // not called any more.
  void set_on_stop(std::function<void()> on_stop);

 private:
  Signals() = default;
  void Run();

  absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  bool reload_ ABSL_GUARDED_BY(mu_) = false;
  Listener<bool> on_stop_;
  Thread thread_;  // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_SIGNALS_H_
