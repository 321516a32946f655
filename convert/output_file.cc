#include "convert/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/durable_files.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/volume_call.h"
#include "common/volume_file.h"

namespace weightd {
namespace {

constexpr mode_t kMode = 0644;

std::string HiddenPath(const std::string& path) {
  return absl::StrCat(DirectoryOf(path), "/.", std::filesystem::path(path).filename().string(), ".",
                      ::getpid(), ".part");
}

long Address(const std::string& path) { return reinterpret_cast<long>(path.c_str()); }

UniqueFd OpenAt(const std::string& path, int flags) {
  return UniqueFd(
      static_cast<int>(VolumeCall(SYS_openat, AT_FDCWD, Address(path), flags | O_CLOEXEC, kMode)));
}

}  // namespace

OutputFile::OutputFile(const std::string& path, bool replace)
    : path_(path),
      directory_(DirectoryOf(path)),
      hidden_path_(HiddenPath(path)),
      replace_(replace) {}

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path,
                                                               uint64_t bytes, bool replace) {
  if (!replace && VolumeCall(SYS_faccessat, AT_FDCWD, Address(path), F_OK) == 0) {
    return ErrorWithReason(absl::StatusCode::kAlreadyExists, Reason::kInvalidRequest,
                           absl::StrCat(path, " is there already; --force replaces it"));
  }
  std::unique_ptr<OutputFile> file(new OutputFile(path, replace));
  RETURN_IF_ERROR(file->Open());
  while (VolumeCall(SYS_fallocate, file->fd_.get(), 0, 0, static_cast<long>(bytes)) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP) break;  // then the writes take it
    return PosixError(errno, absl::StrCat("take ", bytes, " bytes for ", path));
  }
  return file;
}

absl::Status OutputFile::Open() {
  fd_ = OpenAt(directory_, O_TMPFILE | O_WRONLY);
  if (fd_.valid()) return absl::OkStatus();
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
    return PosixError(errno, absl::StrCat("create ", path_));
  }
  fd_ = OpenAt(hidden_path_, O_CREAT | O_EXCL | O_WRONLY);
  if (!fd_.valid()) return PosixError(errno, absl::StrCat("create ", hidden_path_));
  is_named_ = true;
  return absl::OkStatus();
}

OutputFile::~OutputFile() {
  if (is_named_) (void)VolumeUnlink(hidden_path_);
  if (fd_.valid()) (void)VolumeCall(SYS_close, fd_.release());
}

absl::Status OutputFile::WriteAt(uint64_t offset, absl::Span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const long written = VolumeCall(SYS_pwrite64, fd_.get(), reinterpret_cast<long>(bytes.data()),
                                    static_cast<long>(bytes.size()), static_cast<long>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return PosixError(errno, absl::StrCat("write ", path_, " at ", offset));
    offset += static_cast<uint64_t>(written);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status OutputFile::WriteAt(uint64_t offset, absl::string_view text) {
  return WriteAt(offset, absl::Span<const std::byte>(
                             reinterpret_cast<const std::byte*>(text.data()), text.size()));
}

absl::Status OutputFile::GiveName() {
  if (!is_named_) {
    // A file without a name cannot replace one: it gets the hidden name first.
    const std::string self = absl::StrCat("/proc/self/fd/", fd_.get());
    if (VolumeCall(SYS_linkat, AT_FDCWD, Address(self), AT_FDCWD, Address(hidden_path_),
                   AT_SYMLINK_FOLLOW) != 0) {
      return PosixError(errno, absl::StrCat("link ", hidden_path_));
    }
    is_named_ = true;
  }
  const unsigned int flags = replace_ ? 0 : RENAME_NOREPLACE;
  if (VolumeCall(SYS_renameat2, AT_FDCWD, Address(hidden_path_), AT_FDCWD, Address(path_), flags) !=
      0) {
    return PosixError(errno, absl::StrCat("rename to ", path_));
  }
  is_named_ = false;
  return absl::OkStatus();
}

absl::Status OutputFile::Commit() {
  if (VolumeCall(SYS_fsync, fd_.get()) != 0)
    return PosixError(errno, absl::StrCat("fsync ", path_));
  RETURN_IF_ERROR(GiveName());
  return SyncDirectory(directory_);
}

}  // namespace weightd
