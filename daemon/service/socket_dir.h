#ifndef WEIGHTD_DAEMON_SERVICE_SOCKET_DIR_H_
#define WEIGHTD_DAEMON_SERVICE_SOCKET_DIR_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace weightd {

// The directory with the daemon's sockets, owned by one daemon at a time.
//
// Ownership is a flock(2) on weightd.lock, which the kernel gives back however the daemon ends, so
// that sockets of a killed one are known to be stale and are replaced. A directory made here is
// 0750; one that was there, is ours and holds nothing else becomes 0750; any other is left as it
// is, and what that means is in warnings(). Sockets are 0660.
//
// Thread-compatible. The sockets are removed on destruction; the lock file and the directory stay.
class SocketDir {
 public:
  // ALREADY_EXISTS when another daemon owns it; PERMISSION_DENIED; INVALID_ARGUMENT for a path too
  // long for a socket. Missing parents are not made, except one level for /run/weightd's like.
  static absl::StatusOr<std::unique_ptr<SocketDir>> Open(const std::string& path);
  SocketDir(const SocketDir&) = delete;
  SocketDir& operator=(const SocketDir&) = delete;
  ~SocketDir();

  const std::string& path() const { return path_; }
  int rpc_listener() const { return rpc_listener_.get(); }        // SOCK_STREAM, non-blocking
  int handle_listener() const { return handle_listener_.get(); }  // SOCK_SEQPACKET, non-blocking
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  explicit SocketDir(std::string path) : path_(std::move(path)) {}
  absl::Status Prepare();
  absl::Status Lock();
  absl::StatusOr<UniqueFd> Listen(const std::string& socket_path, int type);

  std::string path_;
  UniqueFd lock_;
  UniqueFd rpc_listener_;
  UniqueFd handle_listener_;
  std::vector<std::string> warnings_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_SOCKET_DIR_H_
