#ifndef WEIGHTD_DAEMON_CATALOG_READ_FILE_SUMS_H_
#define WEIGHTD_DAEMON_CATALOG_READ_FILE_SUMS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "daemon/catalog/catalog.h"
#include "daemon/format/sha256_sums.h"

namespace weightd {

// What is known of the SHA-256s of the checkpoint's files, without reading them:
//
//   SHA256SUMS beside them                              as publishers write it (sha256_sums.h)
//   the name of the file that a symlink leads to,       a Hugging Face hub cache keeps large files
//   where that is 64 hexadecimal digits                 as blobs/<SHA-256>, git-lfs alike
//
// By shard; none, one or both of each. A list that names none of the files says nothing. Errors are
// those of ReadTextFile and ParseSha256Sums. Thread-safe.
absl::StatusOr<std::vector<FileSum>> ReadFileSums(const OpenedCheckpoint& opened);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_READ_FILE_SUMS_H_
