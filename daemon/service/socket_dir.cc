#include "daemon/service/socket_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/directory_reader.h"
#include "common/errors.h"
#include "common/socket_paths.h"
#include "common/status_macros.h"
#include "common/unix_socket.h"
#include "common/volume_call.h"
#include "common/volume_file.h"

namespace weightd {
namespace {

constexpr mode_t kDirectoryMode = 0750;
constexpr mode_t kSocketMode = 0660;
// All users share it; the kernel may allow less (net.core.somaxconn).
constexpr int kBacklog = 4096;
// For what listens on a socket that should be ours.
constexpr absl::Duration kProbeTimeout = absl::Seconds(1);

// The directory may lie on a mount that hangs, or one may come over it: calls with a path are
// VolumeCall()s, as system calls of these names, whose errors are theirs.
long Address(const void* pointer) { return reinterpret_cast<long>(pointer); }
bool Stat(const std::string& path, struct stat& facts, int flags = 0) {
  return VolumeCall(SYS_newfstatat, AT_FDCWD, Address(path.c_str()), Address(&facts), flags) == 0;
}
bool Lstat(const std::string& path, struct stat& facts) {
  return Stat(path, facts, AT_SYMLINK_NOFOLLOW);
}
UniqueFd OpenFile(const std::string& path, int flags, mode_t mode = 0) {
  return UniqueFd(static_cast<int>(VolumeCall(SYS_openat, AT_FDCWD, Address(path.c_str()),
                                              flags | O_CLOEXEC, static_cast<long>(mode))));
}
bool Chmod(const std::string& path, mode_t mode) {
  return VolumeCall(SYS_fchmodat, AT_FDCWD, Address(path.c_str()), static_cast<long>(mode)) == 0;
}

// Whether everything in the directory is ours by name.
bool HoldsOnlyOurs(const std::string& path) {
  const UniqueFd directory = OpenFile(path, O_RDONLY | O_DIRECTORY);
  if (!directory.valid()) return false;
  DirectoryReader reader(directory.get());
  while (const dirent64* entry = reader.Next()) {
    const absl::string_view name = entry->d_name;
    const std::string full = absl::StrCat(path, "/", name);
    const bool is_ours =
        full == RpcSocketPath(path) || full == HandleSocketPath(path) || full == LockFilePath(path);
    if (name != "." && name != ".." && !is_ours) return false;
  }
  return reader.error() == 0;
}

// Who owns the directory, or the link that leads to it, can put other sockets in the place of ours
// and serve what he likes. Root may anyway.
absl::Status CheckOwner(const std::string& path, const struct stat& directory) {
  struct stat link {};
  if (!Lstat(path, link)) return PosixError(errno, absl::StrCat("look at ", path));
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
  return Lstat(path, there) && ::fstat(file.get(), &ours) == 0 && there.st_dev == ours.st_dev &&
         there.st_ino == ours.st_ino;
}

UniqueFd OpenPath(const std::string& path) { return OpenFile(path, O_PATH | O_NOFOLLOW); }

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
    if (ours) (void)VolumeUnlink(socket->path);
  }
}

bool SocketDir::HoldsLock() const { return LeadsTo(LockFilePath(path_), lock_); }

absl::Status SocketDir::LockAgain() {
  if (HoldsLock()) return absl::OkStatus();
  RETURN_IF_ERROR(Prepare());
  return Lock();
}

absl::StatusOr<std::vector<std::string>> SocketDir::Restore(const Use& use) {
  std::vector<std::string> restored;
  RETURN_IF_ERROR(LockAgain());
  for (Socket* socket : {&rpc_, &handles_}) {
    // Without its inode (out of descriptors) nothing is known of it.
    if (!socket->inode.valid() || LeadsTo(socket->path, socket->inode)) continue;
    if (!socket->made) {
      return absl::FailedPreconditionError(
          absl::StrCat("socket ", socket->path,
                       " was removed, and only the service manager that passed it can make it "
                       "again: restart its socket unit"));
    }
    // Whoever took the socket away may have taken the lock first, and serve here now.
    RETURN_IF_ERROR(LockAgain());
    const UniqueFd before = std::move(socket->listener);
    struct stat owners {};
    (void)::fstat(socket->inode.get(), &owners);
    if (absl::Status status = Listen(*socket); !status.ok()) {
      socket->listener.reset(::fcntl(before.get(), F_DUPFD_CLOEXEC, 0));
      return status;
    }
    (void)RefuseDescriptors(socket->listener.get());
    // Where that is not permitted, it was not given away either.
    (void)VolumeCall(SYS_fchownat, AT_FDCWD, Address(socket->path.c_str()), owners.st_uid,
                     owners.st_gid, AT_SYMLINK_NOFOLLOW);
    (void)Chmod(socket->path, owners.st_mode & 07777);
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
  if (VolumeMkdir(path_, kDirectoryMode) == 0) {
    // mkdir's mode is cut by the umask.
    if (Chmod(path_, kDirectoryMode)) return absl::OkStatus();
    return PosixError(errno, absl::StrCat("set mode of ", path_));
  }
  if (errno != EEXIST) return PosixError(errno, absl::StrCat("make socket directory ", path_));
  struct stat info {};
  if (!Stat(path_, info)) return PosixError(errno, absl::StrCat("look at ", path_));
  if (!S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("socket directory ", path_, " is not a directory"));
  }
  RETURN_IF_ERROR(CheckOwner(path_, info));
  const mode_t mode = info.st_mode & 07777;
  if (mode == kDirectoryMode) return absl::OkStatus();
  if (info.st_uid == ::geteuid() && HoldsOnlyOurs(path_)) {
    if (Chmod(path_, kDirectoryMode)) return absl::OkStatus();
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
  UniqueFd lock = OpenFile(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!lock.valid()) return PosixError(errno, absl::StrCat("open ", path));
  if (VolumeCall(SYS_flock, lock.get(), LOCK_EX | LOCK_NB) == 0) {
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
  struct stat info {};
  if (Lstat(socket_path, info)) {
    if (!S_ISSOCK(info.st_mode)) {
      return absl::AlreadyExistsError(absl::StrCat(socket_path, " exists and is ",
                                                   S_ISDIR(info.st_mode) ? "a directory" : "a file",
                                                   ", not a socket; remove it"));
    }
    // We hold the lock, so it is stale, unless something other than weightd listens on it; then its
    // queue may be full, too.
    const auto other = ConnectUnixSocket(socket_path, socket.type, absl::Now() + kProbeTimeout);
    if (other.ok() || absl::IsDeadlineExceeded(other.status())) {
      return absl::AlreadyExistsError(absl::StrCat("socket ", socket_path, " is in use"));
    }
    if (VolumeUnlink(socket_path) != 0) {
      return PosixError(errno, absl::StrCat("remove stale socket ", socket_path));
    }
  }
  ASSIGN_OR_RETURN(UniqueFd listener, BindUnixSocket(socket_path, socket.type | SOCK_NONBLOCK));
  socket.made = true;
  if (!Chmod(socket_path, kSocketMode)) {
    return PosixError(errno, absl::StrCat("set mode of ", socket_path));
  }
  if (::listen(listener.get(), kBacklog) != 0) {
    return PosixError(errno, absl::StrCat("listen on ", socket_path));
  }
  socket.listener = std::move(listener);
  return absl::OkStatus();
}

}  // namespace weightd
