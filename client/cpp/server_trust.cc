#include "client/cpp/server_trust.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/errors.h"
#include "common/socket_paths.h"
#include "common/status_macros.h"

namespace weightd::client {
namespace {

constexpr mode_t kOthersWrite = 0002;
constexpr mode_t kGroupOrOthersWrite = 0022;

absl::Status Distrust(const std::string& directory, absl::string_view found) {
  return ErrorWithReason(
      absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied,
      absl::StrCat("socket directory ", directory, ": ", found,
                   ", so that its daemon may be another user's; if you trust it name it, by ",
                   kSocketDirVariable, " or --socket-dir (socket_dir)"));
}

bool IsOursOrRoots(uid_t uid) { return uid == 0 || uid == ::geteuid(); }

// Whether only root and we can have made something in it.
bool OnlyWeWriteTo(const std::string& directory) {
  struct stat info {};
  return ::stat(directory.c_str(), &info) == 0 && IsOursOrRoots(info.st_uid) &&
         (info.st_mode & kGroupOrOthersWrite) == 0;
}

std::string ParentOf(const std::string& directory) {
  const size_t slash = directory.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : directory.substr(0, slash);
}

absl::Status CheckDirectory(const std::string& directory, const struct stat& info) {
  if (S_ISLNK(info.st_mode)) return Distrust(directory, "it is a symbolic link");
  if (!S_ISDIR(info.st_mode)) return Distrust(directory, "it is no directory");
  if (!IsOursOrRoots(info.st_uid) && !OnlyWeWriteTo(ParentOf(directory))) {
    return Distrust(directory, absl::StrCat("it belongs to uid ", info.st_uid, ", neither to us (",
                                            ::geteuid(), ") nor to root"));
  }
  if ((info.st_mode & kOthersWrite) != 0) {
    return Distrust(directory,
                    absl::StrFormat("others may write to it (mode %04o)", info.st_mode & 07777));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckDefaultServer(const std::string& directory, int socket) {
  struct stat info {};
  if (::lstat(directory.c_str(), &info) != 0) {
    return PosixError(errno, absl::StrCat("look at ", directory));
  }
  RETURN_IF_ERROR(CheckDirectory(directory, info));
  ucred server{};
  socklen_t bytes = sizeof(server);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &server, &bytes) != 0) {
    return PosixError(errno, "read the daemon's credentials");
  }
  if (IsOursOrRoots(server.uid) || server.uid == info.st_uid) return absl::OkStatus();
  return Distrust(directory,
                  absl::StrCat("uid ", server.uid, " listens there, which is neither us (",
                               ::geteuid(), ") nor root nor its owner ", info.st_uid));
}

}  // namespace weightd::client
