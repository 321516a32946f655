#ifndef WEIGHTD_DAEMON_CATALOG_READ_HEADERS_H_
#define WEIGHTD_DAEMON_CATALOG_READ_HEADERS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/catalog/catalog.h"
#include "daemon/format/manifest.h"
#include "daemon/format/safetensors.h"
#include "daemon/format/safetensors_index.h"
#include "daemon/storage/volume.h"

// From files to a manifest. Thread-safe.

namespace weightd {

struct ShardHeaders {
  std::vector<std::shared_ptr<File>> files;  // in the order of `shard_paths`; none is open any more
  std::vector<ShardHeader> headers;          // like the files
  // Every file has the tensors that the index names for it, and no others. So no tensor is in two
  // files: an index names each once.
  bool as_indexed = false;
};

// Opens the files of `checkpoint`, whose `shard_paths` are known, and reads their headers: each
// file is closed again before its thread opens the next one. At most `options.header_threads`
// threads, the caller's included. `index` is null without one. Of several errors the first file's
// is returned. Each thread holds one header's text at a time, at most 256 MiB.
absl::StatusOr<ShardHeaders> ReadHeaders(const Checkpoint& checkpoint,
                                         const SafetensorsIndex* index,
                                         const CatalogOptions& options);

// Puts headers together and checks them against each other and the index: no tensor twice, every
// tensor of the index in the file that it names. `checkpoint` is for messages and the limits.
absl::StatusOr<Manifest> AssembleManifest(const Checkpoint& checkpoint, ShardHeaders shards,
                                          const SafetensorsIndex* index,
                                          const CatalogOptions& options);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_READ_HEADERS_H_
