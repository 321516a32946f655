#ifndef WEIGHTD_COMMON_UNIX_SOCKET_H_
#define WEIGHTD_COMMON_UNIX_SOCKET_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"

// Unix sockets in the file system (unix(7)). All descriptors are close-on-exec; all functions are
// thread-safe. INVALID_ARGUMENT for a path that sockaddr_un cannot hold (107 bytes can), else
// errno's meaning (PosixError).

namespace weightd {

// Connects a blocking socket of `type` (SOCK_STREAM or SOCK_SEQPACKET). NOT_FOUND: no such socket;
// UNAVAILABLE: nobody listens; PERMISSION_DENIED; DEADLINE_EXCEEDED: the listener's queue was full
// until `deadline`.
absl::StatusOr<UniqueFd> ConnectUnixSocket(const std::string& path, int type, absl::Time deadline);

// A socket of `type` (or'ed with SOCK_NONBLOCK) that is bound to `path`, which it makes, and does
// not listen yet. ALREADY_EXISTS when something has that name.
absl::StatusOr<UniqueFd> BindUnixSocket(const std::string& path, int type);

// Has the kernel refuse descriptors that others send to `socket` (EPERM at their sendmsg), and to
// what is accepted from it where it listens. Else whoever takes or drops them closes them, and a
// close(2) may last for ever. False where the kernel cannot (before Linux 6.16).
bool RefuseDescriptors(int socket);
// Whether it does.
bool RefusesDescriptors(int socket);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_UNIX_SOCKET_H_
