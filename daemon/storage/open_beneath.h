#ifndef WEIGHTD_DAEMON_STORAGE_OPEN_BENEATH_H_
#define WEIGHTD_DAEMON_STORAGE_OPEN_BENEATH_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/unique_fd.h"
#include "daemon/storage/descriptor_budget.h"
#include "daemon/storage/volume.h"

namespace weightd {

// The directory that a volume shows. Immutable, so thread-safe.
struct VolumeRoot {
  std::string path;                                         // as the operator wrote it
  UniqueFd fd;                                              // O_PATH
  uint64_t device = 0;                                      // as in FileIdentity
  std::shared_ptr<DescriptorBudget> descriptors = nullptr;  // of its files; null: as many as can be
};

// openat2(2) below `root` with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS: the kernel follows every
// symlink and refuses with EXDEV what would leave the root, also while others rename underneath.
// There is no second way that is as safe, so a kernel or seccomp profile without the call is an
// error (UNIMPLEMENTED).
absl::StatusOr<UniqueFd> OpenBeneath(const VolumeRoot& root, absl::string_view path,
                                     uint64_t flags);

// statx(2) of an open descriptor, asking a network volume's server and not its cache.
struct FileFacts {
  mode_t mode = 0;
  FileIdentity identity;
  uint32_t direct_alignment = 0;  // 4096 where the kernel does not tell, 0 for none
};
absl::StatusOr<FileFacts> StatDescriptor(int fd, absl::string_view path);

// Closes a file of a volume, which may ask that, too: a FUSE server is told of it, and answers.
void CloseFile(UniqueFd& fd);

// A descriptor of a regular file. Thread-compatible.
struct OpenedFile {
  OpenedFile() = default;
  OpenedFile(OpenedFile&&) = default;
  OpenedFile& operator=(OpenedFile&&) = default;
  ~OpenedFile() { CloseFile(fd); }
  UniqueFd fd;
  FileFacts facts;
};

// Opens a regular file without ever opening anything else: what the path names is looked at
// first, since opening a FIFO waits and opening a device can do things. O_NONBLOCK is for what
// takes its place in between; it does not stay, io_uring would answer EAGAIN.
absl::StatusOr<OpenedFile> OpenRegular(const VolumeRoot& root, absl::string_view path,
                                       uint64_t flags);

// The errno of a failed openat2 as a Status; apart from it for tests.
absl::Status OpenBeneathError(int error, const VolumeRoot& root, absl::string_view path);

// INVALID_ARGUMENT/CHECKPOINT_INVALID, with what a path is that is no regular file.
absl::Status NotRegularError(absl::string_view path, mode_t mode);

// The name of an open file in its directory; the kernel adds " (deleted)" to one that is gone.
std::string RealNameOf(int fd);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_OPEN_BENEATH_H_
