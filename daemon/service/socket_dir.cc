#include "daemon/service/socket_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/errors.h"
#include "common/socket_paths.h"
#include "common/status_macros.h"
#include "common/unix_socket.h"

namespace weightd {
namespace {

constexpr mode_t kDirectoryMode = 0750;
constexpr mode_t kSocketMode = 0660;
// All users share it; the kernel may allow less (net.core.somaxconn).
constexpr int kBacklog = 4096;
// For what listens on a socket that should be ours.
constexpr absl::Duration kProbeTimeout = absl::Seconds(1);

// Whether everything in the directory is ours by name.
bool HoldsOnlyOurs(const std::string& path) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string full = absl::StrCat(path, "/", entry.path().filename().string());
    if (full != RpcSocketPath(path) && full != HandleSocketPath(path) &&
        full != LockFilePath(path)) {
      return false;
    }
  }
  return !error;
}

// Who owns the directory, or the link that leads to it, can put other sockets in the place of ours
// and serve what he likes. Root may anyway.
absl::Status CheckOwner(const std::string& path, const struct stat& directory) {
  struct stat link {};
  if (::lstat(path.c_str(), &link) != 0) return PosixError(errno, absl::StrCat("look at ", path));
  for (const uid_t owner : {directory.st_uid, link.st_uid}) {
    if (owner == 0 || owner == ::geteuid()) continue;
    return absl::PermissionDeniedError(
        absl::StrCat("socket directory ", path, " belongs to uid ", owner,
                     ", who could serve there in our place; give it to uid ", ::geteuid(),
                     " or root (chown), or choose another with --socket-dir"));
  }
  return absl::OkStatus();
}

// Of a Unix socket; empty for anything else.
std::string BoundPath(int socket) {
  sockaddr_un address{};
  socklen_t bytes = sizeof(address);
  const bool has_path = ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &bytes) == 0 &&
                        address.sun_family == AF_UNIX && bytes > offsetof(sockaddr_un, sun_path);
  if (!has_path) return "";
  return std::string(address.sun_path,
                     ::strnlen(address.sun_path, bytes - offsetof(sockaddr_un, sun_path)));
}

bool LeadsTo(const std::string& path, const UniqueFd& file) {
  struct stat there {};
  struct stat ours {};
  return ::lstat(path.c_str(), &there) == 0 && ::fstat(file.get(), &ours) == 0 &&
         there.st_dev == ours.st_dev && there.st_ino == ours.st_ino;
}

UniqueFd OpenPath(const std::string& path) {
  return UniqueFd(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
}

bool ListensAs(int socket, int type) {
  const auto has = [socket](int option, int value) {
    int found = 0;
    socklen_t bytes = sizeof(found);
    return ::getsockopt(socket, SOL_SOCKET, option, &found, &bytes) == 0 && found == value;
  };
  return has(SO_TYPE, type) && has(SO_ACCEPTCONN, 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SocketDir>> SocketDir::Open(const std::string& path,
                                                           std::vector<UniqueFd> passed) {
  std::unique_ptr<SocketDir> dir(new SocketDir(path));
  RETURN_IF_ERROR(dir->Prepare());
  RETURN_IF_ERROR(dir->Lock());
  RETURN_IF_ERROR(dir->Adopt(std::move(passed)));
  for (Socket* socket : {&dir->rpc_, &dir->handles_}) {
    if (!socket->listener.valid()) RETURN_IF_ERROR(dir->Listen(*socket));
    // Connections inherit it. Where the kernel cannot, who reads from them closes what comes.
    (void)RefuseDescriptors(socket->listener.get());
    socket->inode = OpenPath(socket->path);
  }
  return dir;
}

SocketDir::SocketDir(std::string path)
    : path_(std::move(path)),
      rpc_{.path = RpcSocketPath(path_), .type = SOCK_STREAM},
      handles_{.path = HandleSocketPath(path_), .type = SOCK_SEQPACKET} {}

SocketDir::~SocketDir() {
  // Only what this daemon made: without the lock the sockets are another's.
  for (Socket* socket : {&rpc_, &handles_}) {
    const bool ours = socket->made && LeadsTo(socket->path, socket->inode);
    if (ours) ::unlink(socket->path.c_str());
  }
}

bool SocketDir::HoldsLock() const { return LeadsTo(LockFilePath(path_), lock_); }

absl::StatusOr<std::vector<std::string>> SocketDir::Restore(const Use& use) {
  std::vector<std::string> restored;
  if (!HoldsLock()) {
    RETURN_IF_ERROR(Prepare());
    RETURN_IF_ERROR(Lock());
  }
  for (Socket* socket : {&rpc_, &handles_}) {
    // Without its inode (out of descriptors) nothing is known of it.
    if (!socket->inode.valid() || LeadsTo(socket->path, socket->inode)) continue;
    if (!socket->made) {
      return absl::FailedPreconditionError(
          absl::StrCat("socket ", socket->path,
                       " was removed, and only the service manager that passed it can make it "
                       "again: restart its socket unit"));
    }
    const UniqueFd before = std::move(socket->listener);
    struct stat owners {};
    (void)::fstat(socket->inode.get(), &owners);
    if (absl::Status status = Listen(*socket); !status.ok()) {
      socket->listener.reset(::fcntl(before.get(), F_DUPFD_CLOEXEC, 0));
      return status;
    }
    (void)RefuseDescriptors(socket->listener.get());
    // Where that is not permitted, it was not given away either.
    (void)!::lchown(socket->path.c_str(), owners.st_uid, owners.st_gid);
    (void)::chmod(socket->path.c_str(), owners.st_mode & 07777);
    socket->inode = OpenPath(socket->path);
    use(rpc_listener(), handle_listener());
    restored.push_back(socket->path);
  }
  return restored;
}

absl::Status SocketDir::Adopt(std::vector<UniqueFd> passed) {
  for (UniqueFd& socket : passed) {
    const std::string bound = BoundPath(socket.get());
    const bool is_rpc = bound == RpcSocketPath(path_);
    if (!is_rpc && bound != HandleSocketPath(path_)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the service manager passed a socket at \"", bound, "\", wanted ", RpcSocketPath(path_),
          " or ", HandleSocketPath(path_), "; make the socket unit and socket_dir agree"));
    }
    const int wanted = is_rpc ? SOCK_STREAM : SOCK_SEQPACKET;
    if (!ListensAs(socket.get(), wanted)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the service manager passed ", bound, ", which is not a listening ",
          is_rpc ? "stream" : "sequential packet", " socket; use ",
          is_rpc ? "ListenStream=" : "ListenSequentialPacket=", " in the socket unit"));
    }
    const int flags = ::fcntl(socket.get(), F_GETFL);
    if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
      return PosixError(errno, absl::StrCat("make ", bound, " non-blocking"));
    }
    (is_rpc ? rpc_ : handles_).listener = std::move(socket);
  }
  return absl::OkStatus();
}

absl::Status SocketDir::Prepare() {
  if (::mkdir(path_.c_str(), kDirectoryMode) == 0) {
    // mkdir's mode is cut by the umask.
    if (::chmod(path_.c_str(), kDirectoryMode) == 0) return absl::OkStatus();
    return PosixError(errno, absl::StrCat("set mode of ", path_));
  }
  if (errno != EEXIST) return PosixError(errno, absl::StrCat("make socket directory ", path_));
  struct stat info {};
  if (::stat(path_.c_str(), &info) != 0) return PosixError(errno, absl::StrCat("look at ", path_));
  if (!S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("socket directory ", path_, " is not a directory"));
  }
  RETURN_IF_ERROR(CheckOwner(path_, info));
  const mode_t mode = info.st_mode & 07777;
  if (mode == kDirectoryMode) return absl::OkStatus();
  if (info.st_uid == ::geteuid() && HoldsOnlyOurs(path_)) {
    if (::chmod(path_.c_str(), kDirectoryMode) == 0) return absl::OkStatus();
  }
  if ((mode & 07) != 0) {
    warnings_.push_back({.reason = WarningReason::kSocketDirOpen,
                         .text = absl::StrFormat(
                             "socket directory %s has mode %04o and other users may enter it: only "
                             "the sockets' mode "
                             "0660 and the allow-lists keep them out; use a directory of its own",
                             path_, mode)});
  }
  return absl::OkStatus();
}

absl::Status SocketDir::Lock() {
  const std::string path = LockFilePath(path_);
  UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock.valid()) return PosixError(errno, absl::StrCat("open ", path));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) {
    lock_ = std::move(lock);
    return absl::OkStatus();
  }
  if (errno != EWOULDBLOCK) return PosixError(errno, absl::StrCat("lock ", path));
  return absl::AlreadyExistsError(
      absl::StrCat("socket directory ", path_,
                   " is in use by another weightd; stop it, or choose another with --socket-dir"));
}

absl::Status SocketDir::Listen(Socket& socket) {
  const std::string& socket_path = socket.path;
  // We hold the lock, so a socket that is there is stale, unless something other than weightd
  // listens on it; then its queue may be full, too.
  const auto other = ConnectUnixSocket(socket_path, socket.type, absl::Now() + kProbeTimeout);
  if (other.ok() || absl::IsDeadlineExceeded(other.status())) {
    return absl::AlreadyExistsError(absl::StrCat("socket ", socket_path, " is in use"));
  }
  struct stat info {};
  if (::lstat(socket_path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) {
      return absl::AlreadyExistsError(absl::StrCat(socket_path, " exists and is ",
                                                   S_ISDIR(info.st_mode) ? "a directory" : "a file",
                                                   ", not a socket; remove it"));
    }
    if (::unlink(socket_path.c_str()) != 0) {
      return PosixError(errno, absl::StrCat("remove stale socket ", socket_path));
    }
  }
  ASSIGN_OR_RETURN(UniqueFd listener, BindUnixSocket(socket_path, socket.type | SOCK_NONBLOCK));
  socket.made = true;
  if (::chmod(socket_path.c_str(), kSocketMode) != 0) {
    return PosixError(errno, absl::StrCat("set mode of ", socket_path));
  }
  if (::listen(listener.get(), kBacklog) != 0) {
    return PosixError(errno, absl::StrCat("listen on ", socket_path));
  }
  socket.listener = std::move(listener);
  return absl::OkStatus();
}

}  // namespace weightd
