#include "common/unix_socket.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/volume_call.h"

namespace weightd {
namespace {

// Linux 6.16; the headers of Debian 12 do not have it yet. The number is that of all
// architectures but parisc and sparc.
#ifdef SO_PASSRIGHTS
constexpr int kPassRights = SO_PASSRIGHTS;
#else
constexpr int kPassRights = 83;
#endif

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("socket ", path, ": the path has ", path.size(),
                                                   " bytes, at most ", sizeof(address.sun_path) - 1,
                                                   " fit"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<UniqueFd> CreateSocket(int type) {
  UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return PosixError(errno, "create socket");
  return socket;
}

// connect(2) of a Unix socket waits for room in the listener's queue; SO_SNDTIMEO bounds that.
absl::Status SetConnectTimeout(int socket, absl::Time deadline) {
  const absl::Duration left = std::max(deadline - absl::Now(), absl::Milliseconds(1));
  const timeval timeout = absl::ToTimeval(std::min(left, absl::Hours(24)));
  if (::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0) {
    return PosixError(errno, "set socket timeout");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> ConnectUnixSocket(const std::string& path, int type, absl::Time deadline) {
  ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  ASSIGN_OR_RETURN(UniqueFd socket, CreateSocket(type));
  while (true) {
    RETURN_IF_ERROR(SetConnectTimeout(socket.get(), deadline));
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (::connect(socket.get(), generic, sizeof(address)) == 0) return socket;
    if (errno == EINTR) continue;
    const std::string what = absl::StrCat("connect to ", path);
    if (errno != EAGAIN) return PosixError(errno, what);
    return absl::DeadlineExceededError(absl::StrCat(what, ": timed out, its queue is full"));
  }
}

absl::StatusOr<UniqueFd> BindUnixSocket(const std::string& path, int type) {
  ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  ASSIGN_OR_RETURN(UniqueFd socket, CreateSocket(type));
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (VolumeCall(SYS_bind, socket.get(), reinterpret_cast<long>(generic), sizeof(address)) != 0) {
    return PosixError(errno, absl::StrCat("bind ", path));
  }
  return socket;
}

bool RefuseDescriptors(int socket) {
  const int off = 0;
  return ::setsockopt(socket, SOL_SOCKET, kPassRights, &off, sizeof(off)) == 0;
}

bool RefusesDescriptors(int socket) {
  int passes = 1;
  socklen_t bytes = sizeof(passes);
  return ::getsockopt(socket, SOL_SOCKET, kPassRights, &passes, &bytes) == 0 && passes == 0;
}

}  // namespace weightd
