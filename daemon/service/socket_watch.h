#ifndef WEIGHTD_DAEMON_SERVICE_SOCKET_WATCH_H_
#define WEIGHTD_DAEMON_SERVICE_SOCKET_WATCH_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/thread.h"
#include "common/unique_fd.h"

namespace weightd {

// Calls `check` on a thread of its own when something in the socket directory was made or
// removed, a moment after it: somebody may remove the sockets, and nobody could connect
// any more. Where the kernel gives no watch, or the directory is gone, it looks every few seconds.
//
// Thread-compatible.
class SocketWatch {
 public:
  // RESOURCE_EXHAUSTED when the system gives no descriptor or no thread.
  static absl::StatusOr<std::unique_ptr<SocketWatch>> Start(std::string directory,
                                                            std::function<void()> check);
  SocketWatch(const SocketWatch&) = delete;
  SocketWatch& operator=(const SocketWatch&) = delete;
  ~SocketWatch() { Stop(); }

  // Returns when no `check` runs or will run.
  void Stop();

 private:
  SocketWatch(std::string directory, std::function<void()> check)
      : directory_(std::move(directory)), check_(std::move(check)) {}
  void Run();
  // False when it is to stop.
  bool WaitForEvents(int timeout_ms);

  const std::string directory_;
  const std::function<void()> check_;
  UniqueFd stop_event_;
  UniqueFd inotify_;  // none where the kernel gives no more
  Thread thread_;     // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_SOCKET_WATCH_H_
