#ifndef WEIGHTD_DAEMON_SERVICE_CONNECTION_ACCEPTOR_H_
#define WEIGHTD_DAEMON_SERVICE_CONNECTION_ACCEPTOR_H_

#include <functional>
#include <thread>

#include "common/unique_fd.h"

namespace weightd {

// One thread that accepts connections on a listening socket and hands each to `on_connection`,
// until Stop(). When descriptors run out it waits for a while instead of spinning.
//
// Thread-compatible. The listener must outlive it.
class ConnectionAcceptor {
 public:
  ConnectionAcceptor(int listener, std::function<void(UniqueFd)> on_connection);
  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;
  ~ConnectionAcceptor() { Stop(); }

  // Returns when no further call of `on_connection` runs or will run.
  void Stop();

 private:
  void Run();

  const int listener_;
  const std::function<void(UniqueFd)> on_connection_;
  UniqueFd stop_event_;
  std::thread thread_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_CONNECTION_ACCEPTOR_H_
