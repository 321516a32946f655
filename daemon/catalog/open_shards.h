#ifndef WEIGHTD_DAEMON_CATALOG_OPEN_SHARDS_H_
#define WEIGHTD_DAEMON_CATALOG_OPEN_SHARDS_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/catalog/catalog.h"
#include "daemon/storage/volume.h"

// From a checkpoint's names to its open files. Thread-safe.

namespace weightd {

// The index of a checkpoint that has one: `checkpoint.index` if that is what the file still holds.
absl::StatusOr<std::shared_ptr<const CheckpointIndex>> ReadIndex(const Checkpoint& checkpoint,
                                                                 const CatalogOptions& options);

// Opens every file, in the order of `shard_paths`. Where there is an index, sets `index` and from
// it `shard_paths`; sets `file_bytes`. It does so as far as it gets: all are of use beside an
// error.
absl::StatusOr<std::vector<std::shared_ptr<File>>> OpenShards(Checkpoint& checkpoint,
                                                              const CatalogOptions& options);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_OPEN_SHARDS_H_
