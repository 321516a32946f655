#ifndef WEIGHTD_DAEMON_CATALOG_READ_TEXT_H_
#define WEIGHTD_DAEMON_CATALOG_READ_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/storage/volume.h"

namespace weightd {

// `bytes` of a file from `offset`, in a string that the JSON reader need not copy. Errors are those
// of File::ReadAt. Thread-safe.
absl::StatusOr<std::string> ReadText(const File& file, uint64_t offset, uint64_t bytes);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_READ_TEXT_H_
