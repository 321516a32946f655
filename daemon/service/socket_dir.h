#ifndef WEIGHTD_DAEMON_SERVICE_SOCKET_DIR_H_
#define WEIGHTD_DAEMON_SERVICE_SOCKET_DIR_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "common/warning.h"

namespace weightd {

// The directory with the daemon's sockets, owned by one daemon at a time.
//
// Ownership is a flock(2) on weightd.lock, which the kernel gives back however the daemon ends, so
// that sockets of a killed one are known to be stale and are replaced. A directory made here is
// 0750; one that was there, is ours and holds nothing else becomes 0750; any other is left as it
// is, and what that means is in warnings(). One that belongs to another user, root aside, is
// refused. Sockets are 0660.
//
// Sockets that a service manager listens on, and passed, are used as they are: their mode and their
// end are its matter, so that clients can wait at them while the daemon is not there.
//
// Nobody can send descriptors to either socket, where the kernel can refuse them (Linux 6.16).
//
// Somebody may remove the sockets while the daemon runs: Restore() puts others in their place.
//
// Thread-compatible. The sockets that were made here are removed on destruction; the lock file and
// the directory stay.
class SocketDir {
 public:
  // ALREADY_EXISTS when another daemon owns it; PERMISSION_DENIED, also for a directory of another
  // user; INVALID_ARGUMENT for a path too
  // long for a socket. Missing parents are not made, except one level for /run/weightd's like.
  // INVALID_ARGUMENT, too, for a passed socket that is none of the directory's two.
  static absl::StatusOr<std::unique_ptr<SocketDir>> Open(const std::string& path,
                                                         std::vector<UniqueFd> passed = {});
  SocketDir(const SocketDir&) = delete;
  SocketDir& operator=(const SocketDir&) = delete;
  ~SocketDir();

  // Looks whether clients still find the sockets, and binds those anew that they do not, with the
  // mode and the owners that they had. The paths of those; `use` is told of each before the socket
  // that it replaces is closed. That is safe as a start is: the directory is ours, and
  // so is the lock, which is taken again where it is gone, too.
  //
  // ALREADY_EXISTS when another daemon has the directory by now; FAILED_PRECONDITION for a socket
  // that the service manager passed, which only that can make; the errors of Open().
  using Use = std::function<void(int rpc_listener, int handle_listener)>;
  absl::StatusOr<std::vector<std::string>> Restore(const Use& use);

  const std::string& path() const { return path_; }
  int rpc_listener() const { return rpc_.listener.get(); }         // SOCK_STREAM, non-blocking
  int handle_listener() const { return handles_.listener.get(); }  // SOCK_SEQPACKET, non-blocking
  const Warnings& warnings() const { return warnings_; }

 private:
  struct Socket {
    std::string path;
    int type = 0;
    UniqueFd listener{};
    bool made = false;  // by us
    UniqueFd inode{};   // what the path leads to, O_PATH: its mode and owners outlive the path
  };

  explicit SocketDir(std::string path);
  absl::Status Prepare();
  absl::Status Lock();
  // Where the lock file is another one than ours, or gone.
  absl::Status LockAgain();
  absl::Status Adopt(std::vector<UniqueFd> passed);
  absl::Status Listen(Socket& socket);
  bool HoldsLock() const;

  std::string path_;
  UniqueFd lock_;
  Socket rpc_;
  Socket handles_;
  Warnings warnings_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_SOCKET_DIR_H_
