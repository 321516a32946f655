#include "common/volume_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/volume_call.h"

namespace weightd {
namespace {

long Address(const void* pointer) { return reinterpret_cast<long>(pointer); }

}  // namespace

VolumeFile& VolumeFile::operator=(VolumeFile&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = std::move(other.fd_);
  }
  return *this;
}

void VolumeFile::Close() {
  if (fd_.valid()) VolumeClose(fd_.release());
}

absl::StatusOr<VolumeFile> VolumeFile::Open(const std::string& path, int flags, uint32_t mode,
                                            absl::string_view what) {
  const long fd = VolumeCall(SYS_openat, AT_FDCWD, Address(path.c_str()), flags | O_CLOEXEC, mode);
  if (fd < 0) return PosixError(errno, absl::StrCat("open ", what));
  return VolumeFile(static_cast<int>(fd));
}

ssize_t VolumeFile::Read(absl::Span<char> to) const {
  return VolumeCall(SYS_read, fd_.get(), Address(to.data()), static_cast<long>(to.size()));
}

ssize_t VolumeFile::Write(absl::string_view text) const {
  return VolumeCall(SYS_write, fd_.get(), Address(text.data()), static_cast<long>(text.size()));
}

int VolumeFile::Sync() const { return static_cast<int>(VolumeCall(SYS_fsync, fd_.get())); }

int VolumeFile::TryLock() const {
  return static_cast<int>(VolumeCall(SYS_flock, fd_.get(), LOCK_EX | LOCK_NB));
}

int VolumeFile::Truncate() const {
  return static_cast<int>(VolumeCall(SYS_ftruncate, fd_.get(), 0));
}

absl::StatusOr<size_t> ReadVolumeFile(const std::string& path, absl::Span<char> to,
                                      absl::string_view what) {
  ASSIGN_OR_RETURN(const VolumeFile file, VolumeFile::Open(path, O_RDONLY, 0, what));
  size_t filled = 0;
  while (filled < to.size()) {
    const ssize_t got = file.Read(to.subspan(filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return PosixError(errno, absl::StrCat("read ", what));
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  return filled;
}

int VolumeRename(const std::string& from, const std::string& to) {
  return static_cast<int>(
      VolumeCall(SYS_renameat2, AT_FDCWD, Address(from.c_str()), AT_FDCWD, Address(to.c_str())));
}

int VolumeUnlink(const std::string& path) {
  return static_cast<int>(VolumeCall(SYS_unlinkat, AT_FDCWD, Address(path.c_str())));
}

int VolumeMkdir(const std::string& path, uint32_t mode) {
  return static_cast<int>(VolumeCall(SYS_mkdirat, AT_FDCWD, Address(path.c_str()), mode));
}

}  // namespace weightd
