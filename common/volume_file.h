#ifndef WEIGHTD_COMMON_VOLUME_FILE_H_
#define WEIGHTD_COMMON_VOLUME_FILE_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/unique_fd.h"

// Files of the daemon's own: configuration, keys, state. They may lie on a volume that never
// answers, so all that asks it is a volume call (common/volume_call.h), the close, too.
// Thread-safe, and a VolumeFile is thread-compatible.

namespace weightd {

class VolumeFile {
 public:
  VolumeFile() = default;
  VolumeFile(VolumeFile&&) noexcept = default;
  VolumeFile& operator=(VolumeFile&& other) noexcept;
  ~VolumeFile() { Close(); }

  // open(2) with O_CLOEXEC; `mode` is for a file that is made. `what` names it in the error, which
  // is the system's, like "open key file /etc/key".
  static absl::StatusOr<VolumeFile> Open(const std::string& path, int flags, uint32_t mode,
                                         absl::string_view what);

  // As read(2), write(2) and fsync(2): -1 and errno for an error.
  ssize_t Read(absl::Span<char> to) const;
  ssize_t Write(absl::string_view text) const;
  int Sync() const;
  // As flock(2) with LOCK_EX | LOCK_NB, and ftruncate(2) to nothing: -1 and errno for an error. The
  // lock ends with this object.
  int TryLock() const;
  int Truncate() const;

 private:
  explicit VolumeFile(int fd) : fd_(fd) {}
  void Close();

  UniqueFd fd_;
};

// Reads the file `path` from its begin until `to` is full or it ends; how many bytes that were. The
// errors of the system, with "open WHAT" or "read WHAT".
absl::StatusOr<size_t> ReadVolumeFile(const std::string& path, absl::Span<char> to,
                                      absl::string_view what);

// As rename(2), unlink(2) and mkdir(2): -1 and errno for an error.
int VolumeRename(const std::string& from, const std::string& to);
int VolumeUnlink(const std::string& path);
int VolumeMkdir(const std::string& path, uint32_t mode);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_VOLUME_FILE_H_
