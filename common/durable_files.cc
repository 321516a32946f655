#include "common/durable_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/unique_fd.h"

namespace weightd {
namespace {

constexpr size_t kProbeBytes = 4096;  // a block, which a full disk has not

absl::Status WriteWhole(int fd, absl::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return PosixError(errno, absl::StrCat("write ", path));
    text.remove_prefix(static_cast<size_t>(written));
  }
  if (::fsync(fd) != 0) return PosixError(errno, absl::StrCat("write ", path, " to the disk"));
  return absl::OkStatus();
}

// The file beside `path` that becomes it.
struct Temporary {
  std::string path;
  UniqueFd fd;
};

absl::StatusOr<Temporary> MakeTemporary(const std::string& path, uint32_t mode) {
  const std::string directory = DirectoryOf(path);
  const size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  // One name, so that what a crash leaves is written over the next time; hidden, so that nobody who
  // reads the directory takes it for a file of it.
  const std::string temporary = absl::StrCat(directory, "/.", name, ".new");
  UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd.valid()) return PosixError(errno, absl::StrCat("write ", path, ": open ", temporary));
  return Temporary{.path = temporary, .fd = std::move(fd)};
}

}  // namespace

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status StoreFile(const std::string& path, absl::string_view content, uint32_t mode) {
  ASSIGN_OR_RETURN(const Temporary made, MakeTemporary(path, mode));
  absl::Status stored = WriteWhole(made.fd.get(), content, path);
  if (stored.ok() && ::rename(made.path.c_str(), path.c_str()) != 0) {
    stored = PosixError(errno, absl::StrCat("write ", path, ": rename ", made.path));
  }
  if (!stored.ok()) {
    (void)::unlink(made.path.c_str());
    return stored;
  }
  return SyncDirectory(DirectoryOf(path));
}

absl::Status ProbeStoreFile(const std::string& path, uint32_t mode) {
  ASSIGN_OR_RETURN(const Temporary made, MakeTemporary(path, mode));
  const absl::Status written = WriteWhole(made.fd.get(), std::string(kProbeBytes, '\n'), path);
  (void)::unlink(made.path.c_str());
  return written;
}

absl::Status SyncDirectory(const std::string& directory) {
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) {
    return PosixError(errno, absl::StrCat("write ", directory, " to the disk"));
  }
  return absl::OkStatus();
}

}  // namespace weightd
