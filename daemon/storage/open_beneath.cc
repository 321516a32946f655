#include "daemon/storage/open_beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/volume_call.h"

namespace weightd {
namespace {

constexpr uint32_t kDirectAlignmentUntold = 4096;
// The kernel gives up with EAGAIN when somebody renames while it resolves "..".
constexpr int kRenameRetriesMax = 16;

int64_t Nanoseconds(const statx_timestamp& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

uint32_t DirectAlignment(const struct statx& facts) {
  if ((facts.stx_mask & STATX_DIOALIGN) == 0) return kDirectAlignmentUntold;
  if (facts.stx_dio_mem_align == 0 || facts.stx_dio_offset_align == 0) return 0;
  const uint32_t alignment = std::max(facts.stx_dio_mem_align, facts.stx_dio_offset_align);
  return IsPowerOfTwo(alignment) ? alignment : 0;
}

}  // namespace

absl::Status NotRegularError(absl::string_view path, mode_t mode) {
  const absl::string_view kind = S_ISDIR(mode)    ? "a directory"
                                 : S_ISFIFO(mode) ? "a FIFO"
                                 : S_ISSOCK(mode) ? "a socket"
                                                  : "a device";
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kCheckpointInvalid,
                         absl::StrCat("open ", path, ": not a regular file but ", kind));
}

absl::Status OpenBeneathError(int error, const VolumeRoot& root, absl::string_view path) {
  switch (error) {
    case EXDEV:
      return ErrorWithReason(absl::StatusCode::kPermissionDenied, Reason::kPathOutsideRoot,
                             absl::StrCat("open ", path, ": leads out of ", root.path));
    case ELOOP:
      return absl::InvalidArgumentError(
          absl::StrCat("open ", path, ": its symlinks go in a circle or lead into /proc"));
    case ENOSYS:
      return absl::UnimplementedError(absl::StrCat(
          "open ", path,
          ": no openat2; it needs Linux 5.6 and a seccomp filter that allows it (systemd: not with "
          "RestrictSUIDSGID=), see deploy/seccomp/"));
    case EMFILE:
      return ErrorWithReason(
          absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
          absl::StrCat("open ", path, " below ", root.path,
                       ": the process has all descriptors that RLIMIT_NOFILE gives it; ",
                       HowToRaiseDescriptorLimit()));
    default:
      return PosixError(error, absl::StrCat("open ", path, " below ", root.path));
  }
}

absl::StatusOr<UniqueFd> OpenBeneath(const VolumeRoot& root, absl::string_view path,
                                     uint64_t flags) {
  if (path.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError("open: the path contains a NUL byte");
  }
  const std::string name = path.empty() ? "." : std::string(path);
  open_how how = {};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  int error = 0;
  for (int i = 0; i <= kRenameRetriesMax; ++i) {
    const long fd = VolumeCall(SYS_openat2, root.fd.get(), reinterpret_cast<long>(name.c_str()),
                               reinterpret_cast<long>(&how), sizeof(how));
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    error = errno;
    if (error != EAGAIN && error != EINTR) break;
  }
  return OpenBeneathError(error, root, path);
}

absl::StatusOr<FileFacts> StatDescriptor(int fd, absl::string_view path) {
  struct statx facts = {};
  if (VolumeCall(SYS_statx, fd, reinterpret_cast<long>(""), AT_EMPTY_PATH | AT_STATX_FORCE_SYNC,
                 STATX_BASIC_STATS | STATX_DIOALIGN, reinterpret_cast<long>(&facts)) != 0) {
    return PosixError(errno, absl::StrCat("stat ", path));
  }
  FileFacts result;
  result.mode = facts.stx_mode;
  result.identity = {.device = makedev(facts.stx_dev_major, facts.stx_dev_minor),
                     .inode = facts.stx_ino,
                     .size_bytes = facts.stx_size,
                     .mtime_ns = Nanoseconds(facts.stx_mtime),
                     .ctime_ns = Nanoseconds(facts.stx_ctime)};
  result.direct_alignment = DirectAlignment(facts);
  return result;
}

void CloseFile(UniqueFd& fd) {
  if (fd.valid()) VolumeClose(fd.release());
}

absl::StatusOr<OpenedFile> OpenRegular(const VolumeRoot& root, absl::string_view path,
                                       uint64_t flags) {
  ASSIGN_OR_RETURN(const UniqueFd named, OpenBeneath(root, path, O_PATH));
  ASSIGN_OR_RETURN(const FileFacts named_facts, StatDescriptor(named.get(), path));
  if (!S_ISREG(named_facts.mode)) return NotRegularError(path, named_facts.mode);

  OpenedFile opened;
  ASSIGN_OR_RETURN(opened.fd, OpenBeneath(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | flags));
  ASSIGN_OR_RETURN(opened.facts, StatDescriptor(opened.fd.get(), path));
  if (!S_ISREG(opened.facts.mode)) return NotRegularError(path, opened.facts.mode);
  const int status_flags = fcntl(opened.fd.get(), F_GETFL);
  if (status_flags < 0 || fcntl(opened.fd.get(), F_SETFL, status_flags & ~O_NONBLOCK) < 0) {
    return PosixError(errno, absl::StrCat("open ", path, ": clear O_NONBLOCK"));
  }
  return opened;
}

std::string RealNameOf(int fd) {
  std::error_code error;
  const auto target = std::filesystem::read_symlink(absl::StrCat("/proc/self/fd/", fd), error);
  return error ? "" : target.filename().string();
}

}  // namespace weightd
