#ifndef WEIGHTD_DAEMON_MAIN_SERVICE_MANAGER_H_
#define WEIGHTD_DAEMON_MAIN_SERVICE_MANAGER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"

namespace weightd {

// systemd, or who else started us and speaks its protocol: one datagram per message to
// $NOTIFY_SOCKET (sd_notify(3), whose page gives the protocol as stable and to be implemented
// without libsystemd, which would bring its own five libraries into the image), and listening
// sockets from descriptor 3 on (sd_listen_fds(3)). Without one every call does nothing.
//
// Thread-safe. A message that cannot be sent is lost: nobody waits for it but the manager.
class ServiceManager {
 public:
  // Reads the protocol's variables and takes them out of the environment, so that no child takes
  // itself for the service. Call it before there is another thread.
  static ServiceManager FromEnvironment();
  explicit ServiceManager(std::string notify_socket = "",
                          absl::Duration watchdog = absl::ZeroDuration())
      : notify_socket_(std::move(notify_socket)), watchdog_(watchdog) {}

  bool is_there() const { return !notify_socket_.empty(); }

  void Ready(absl::string_view status) const;
  // Between this and the next Ready() the manager waits for a reload. CLOCK_MONOTONIC is read here.
  void Reloading() const;
  // `time` is what stopping may take.
  void Stopping(absl::Duration time) const;
  void Status(absl::string_view status) const;
  void Alive(absl::string_view status) const;

  // Without an Alive() for so long the manager takes us for dead; zero: it does not look.
  absl::Duration watchdog() const { return watchdog_; }

  // What was passed, once.
  std::vector<UniqueFd> TakeSockets() { return std::move(sockets_); }

 private:
  void Send(const std::string& message) const;

  std::string notify_socket_;  // a path, or a name in the abstract namespace after '@'
  absl::Duration watchdog_;
  std::vector<UniqueFd> sockets_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_SERVICE_MANAGER_H_
