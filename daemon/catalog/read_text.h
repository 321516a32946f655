#ifndef WEIGHTD_DAEMON_CATALOG_READ_TEXT_H_
#define WEIGHTD_DAEMON_CATALOG_READ_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/storage/volume.h"

namespace weightd {

// `bytes` of a file from `offset`, in a string that the JSON reader need not copy. Errors are those
// of File::ReadAt. Thread-safe.
absl::StatusOr<std::string> ReadText(const File& file, uint64_t offset, uint64_t bytes);

// A whole file that need not be there: nullopt then. RESOURCE_EXHAUSTED/LIMIT_EXCEEDED for more
// than `bytes_max`, and the errors of Volume::Open and File::ReadAt. Thread-safe.
absl::StatusOr<std::optional<std::string>> ReadTextFile(Volume& volume, const std::string& path,
                                                        uint64_t bytes_max);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_READ_TEXT_H_
