#include "common/durable_files.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/volume_file.h"

namespace weightd {
namespace {

constexpr size_t kProbeBytes = 4096;  // a block, which a full disk has not

absl::Status WriteWhole(const VolumeFile& file, absl::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = file.Write(text);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return PosixError(errno, absl::StrCat("write ", path));
    text.remove_prefix(static_cast<size_t>(written));
  }
  if (file.Sync() != 0) return PosixError(errno, absl::StrCat("write ", path, " to the disk"));
  return absl::OkStatus();
}

// The file beside `path` that becomes it.
struct Temporary {
  std::string path;
  VolumeFile file;
};

absl::StatusOr<Temporary> MakeTemporary(const std::string& path, uint32_t mode) {
  const std::string directory = DirectoryOf(path);
  const size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  // One name, so that what a crash leaves is written over the next time; hidden, so that nobody who
  // reads the directory takes it for a file of it.
  const std::string temporary = absl::StrCat(directory, "/.", name, ".new");
  absl::StatusOr<VolumeFile> file =
      VolumeFile::Open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode, temporary);
  if (!file.ok()) return Annotate(file.status(), absl::StrCat("write ", path));
  return Temporary{.path = temporary, .file = *std::move(file)};
}

}  // namespace

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status StoreFile(const std::string& path, absl::string_view content, uint32_t mode) {
  ASSIGN_OR_RETURN(const Temporary made, MakeTemporary(path, mode));
  absl::Status stored = WriteWhole(made.file, content, path);
  if (stored.ok() && VolumeRename(made.path, path) != 0) {
    stored = PosixError(errno, absl::StrCat("write ", path, ": rename ", made.path));
  }
  if (!stored.ok()) {
    (void)VolumeUnlink(made.path);
    return stored;
  }
  return SyncDirectory(DirectoryOf(path));
}

absl::Status ProbeStoreFile(const std::string& path, uint32_t mode) {
  ASSIGN_OR_RETURN(const Temporary made, MakeTemporary(path, mode));
  const absl::Status written = WriteWhole(made.file, std::string(kProbeBytes, '\n'), path);
  (void)VolumeUnlink(made.path);
  return written;
}

absl::Status SyncDirectory(const std::string& directory) {
  ASSIGN_OR_RETURN(const VolumeFile file,
                   VolumeFile::Open(directory, O_RDONLY | O_DIRECTORY, 0, directory));
  if (file.Sync() != 0) {
    return PosixError(errno, absl::StrCat("write ", directory, " to the disk"));
  }
  return absl::OkStatus();
}

}  // namespace weightd
