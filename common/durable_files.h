#ifndef WEIGHTD_COMMON_DURABLE_FILES_H_
#define WEIGHTD_COMMON_DURABLE_FILES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// For files that take their name once they are whole. Their volume is asked by volume calls
// (common/volume_call.h). Thread-safe.

namespace weightd {

// The directory that holds `path`: "." or "/" where it names none.
std::string DirectoryOf(const std::string& path);

// Writes a temporary file, `.<name>.new` beside it, to the disk, and renames: a crash leaves the
// old content or the new one. Not for two writers of one path at a time. The errors of the system,
// and then the old content is as it was.
absl::Status StoreFile(const std::string& path, absl::string_view content, uint32_t mode);

// Whether StoreFile() could store something there, found out by writing a little to its temporary
// file, which is removed again. The errors of the system.
absl::Status ProbeStoreFile(const std::string& path, uint32_t mode);

// A rename in it has reached the disk when this returns.
absl::Status SyncDirectory(const std::string& directory);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_DURABLE_FILES_H_
