#ifndef WEIGHTD_DAEMON_CATALOG_OPEN_SHARDS_H_
#define WEIGHTD_DAEMON_CATALOG_OPEN_SHARDS_H_

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/catalog/catalog.h"

// From a checkpoint's names to its files. Thread-safe.

namespace weightd {

// The index of a checkpoint that has one: `checkpoint.index` if that is what the file still holds.
absl::StatusOr<std::shared_ptr<const CheckpointIndex>> ReadIndex(const Checkpoint& checkpoint,
                                                                 const CatalogOptions& options);

// Where there is an index, sets `index` and from it `shard_paths`. Checks that there are some, and
// not too many.
absl::Status NameShards(Checkpoint& checkpoint, const CatalogOptions& options);

// NameShards(), and looks at every file without opening it: sets `identities` and `file_bytes`. It
// does so as far as it gets: what it has set is of use beside an error. Where very many files are
// missing it ends early, and keeps no `shard_paths`.
absl::Status LookAtShards(Checkpoint& checkpoint, const CatalogOptions& options);

// The error of opening or looking at a shard, in words of the checkpoint where the file is simply
// not there.
absl::Status ShardProblem(const Checkpoint& checkpoint, size_t shard, const absl::Status& status);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_OPEN_SHARDS_H_
