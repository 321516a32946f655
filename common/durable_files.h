#ifndef WEIGHTD_COMMON_DURABLE_FILES_H_
#define WEIGHTD_COMMON_DURABLE_FILES_H_

#include <string>

#include "absl/status/status.h"

// For files that take their name once they are whole. Thread-safe.

namespace weightd {

// The directory that holds `path`: "." or "/" where it names none.
std::string DirectoryOf(const std::string& path);

// A rename in it has reached the disk when this returns.
absl::Status SyncDirectory(const std::string& directory);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_DURABLE_FILES_H_
