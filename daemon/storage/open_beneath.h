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

// The errno of a failed openat2 as a Status; apart from it for tests.
absl::Status OpenBeneathError(int error, const VolumeRoot& root, absl::string_view path);

// INVALID_ARGUMENT/CHECKPOINT_INVALID, with what a path is that is no regular file.
absl::Status NotRegularError(absl::string_view path, mode_t mode);

// The name of an open file in its directory; the kernel adds " (deleted)" to one that is gone.
std::string RealNameOf(int fd);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_OPEN_BENEATH_H_
