#ifndef WEIGHTD_DAEMON_CATALOG_OPEN_SHARDS_H_
#define WEIGHTD_DAEMON_CATALOG_OPEN_SHARDS_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/catalog/catalog.h"
#include "daemon/format/safetensors_index.h"
#include "daemon/storage/volume.h"

// From a checkpoint's names to its open files. Thread-safe.

namespace weightd {

// The index of a checkpoint that has one.
absl::StatusOr<SafetensorsIndex> ReadIndex(const Checkpoint& checkpoint,
                                           const CatalogOptions& options);

struct OpenShardsResult {
  std::vector<std::shared_ptr<File>> files;  // like checkpoint.shard_paths
  std::optional<SafetensorsIndex> index;     // its shards are those files
};

// Opens every file and sets `shard_paths`, from the index where there is one, and `file_bytes`, as
// far as it gets: both are of use beside an error.
absl::StatusOr<OpenShardsResult> OpenShards(Checkpoint& checkpoint, const CatalogOptions& options);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_OPEN_SHARDS_H_
