#ifndef WEIGHTD_DAEMON_SERVICE_CONNECTION_ACCEPTOR_H_
#define WEIGHTD_DAEMON_SERVICE_CONNECTION_ACCEPTOR_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/thread.h"
#include "common/unique_fd.h"

namespace weightd {

// One thread that accepts connections on a listening socket and hands each to `on_connection`,
// until Stop(). When descriptors run out, or `may_accept` says no, it waits for a while instead of
// spinning. One that its peer has closed before it is accepted costs next to nothing: all users
// share the listener's queue, and who connects and closes as fast as he can must not keep it full.
//
// Thread-compatible. A listener must outlive it, or the return of the ListenOn() that replaces it.
class ConnectionAcceptor {
 public:
  struct Options {
    std::string name;  // of its thread
    int listener = -1;
    std::function<void(UniqueFd)> on_connection;  // must be quick: the next one waits meanwhile
    std::function<bool()> may_accept = [] { return true; };
  };

  // RESOURCE_EXHAUSTED when the system gives no descriptor or no thread.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Start(Options options);
  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;
  ~ConnectionAcceptor() { Stop(); }

  // From its return on, `listener` is the one. Not after Stop().
  void ListenOn(int listener);
  // Returns when no further call of `on_connection` runs or will run.
  void Stop();

 private:
  ConnectionAcceptor(Options options, UniqueFd wake_event)
      : options_(std::move(options)),
        wake_event_(std::move(wake_event)),
        wanted_(options_.listener) {}
  void Run();
  // False when it is better to wait for a while.
  bool AcceptAll(int listener) const;
  void Wake();
  // The listener from here on; -1 when it stops.
  int TakeListener();

  const Options options_;
  const UniqueFd wake_event_;
  absl::Mutex mu_;
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  int wanted_ ABSL_GUARDED_BY(mu_);
  int taken_ ABSL_GUARDED_BY(mu_) = -1;  // what the thread uses
  Thread thread_;                        // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_CONNECTION_ACCEPTOR_H_
