#ifndef WEIGHTD_DAEMON_SERVICE_CONNECTION_ACCEPTOR_H_
#define WEIGHTD_DAEMON_SERVICE_CONNECTION_ACCEPTOR_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/thread.h"
#include "common/unique_fd.h"

namespace weightd {

// One thread that accepts connections on a listening socket and hands each to `on_connection`,
// until Stop(). When descriptors run out, or `may_accept` says no, it waits for a while instead of
// spinning.
//
// Thread-compatible. The listener must outlive it.
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

  // Returns when no further call of `on_connection` runs or will run.
  void Stop();

 private:
  ConnectionAcceptor(Options options, UniqueFd stop_event)
      : options_(std::move(options)), stop_event_(std::move(stop_event)) {}
  void Run();

  const Options options_;
  const UniqueFd stop_event_;
  Thread thread_;  // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_CONNECTION_ACCEPTOR_H_
