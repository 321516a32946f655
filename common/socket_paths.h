#ifndef WEIGHTD_COMMON_SOCKET_PATHS_H_
#define WEIGHTD_COMMON_SOCKET_PATHS_H_

#include <string>
#include <utility>

#include "absl/strings/string_view.h"

// Where daemon, CLI and libraries meet. Thread-safe.

namespace weightd {

// The environment variable that names the socket directory for all of them.
inline constexpr const char* kSocketDirVariable = "WEIGHTD_SOCKET_DIR";

// A socket directory, and whether nobody named it: then clients ask who made it, and who serves
// there (client/cpp/server_trust.h).
struct SocketDirectory {
  // NOLINTNEXTLINE(google-explicit-constructor): one that is spelled out is named.
  SocketDirectory(std::string named) : path(std::move(named)) {}
  SocketDirectory(std::string dir, bool by_default)
      : path(std::move(dir)), is_default(by_default) {}
  SocketDirectory(const char* named) : path(named) {}  // NOLINT(google-explicit-constructor)

  std::string path;
  bool is_default = false;
};

// `given` if not empty, else $WEIGHTD_SOCKET_DIR: these are named. Else the default: /run/weightd
// for root, else $XDG_RUNTIME_DIR/weightd, else /tmp/weightd-<uid>.
SocketDirectory ResolveSocketDir(absl::string_view given);

// <dir>/weightd.sock: gRPC (SOCK_STREAM).
std::string RpcSocketPath(absl::string_view dir);
// <dir>/handles.sock: descriptors for tickets (SOCK_SEQPACKET, see handle_protocol.h).
std::string HandleSocketPath(absl::string_view dir);
// <dir>/weightd.lock: held with flock(2) by the daemon that owns the directory.
std::string LockFilePath(absl::string_view dir);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_SOCKET_PATHS_H_
