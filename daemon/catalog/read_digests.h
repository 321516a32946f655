#ifndef WEIGHTD_DAEMON_CATALOG_READ_DIGESTS_H_
#define WEIGHTD_DAEMON_CATALOG_READ_DIGESTS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/catalog/catalog.h"
#include "daemon/format/digest_manifest.h"

// Digest manifests beside checkpoints. Thread-safe.

namespace weightd {

// Where that of a checkpoint lies, relative to its root.
std::string DigestsPathOf(const Checkpoint& checkpoint);

// Null where there is none. One that has other tensors than `manifest` is an error: it is another
// checkpoint's.
absl::StatusOr<std::shared_ptr<const DigestManifest>> ReadDigests(const Checkpoint& checkpoint,
                                                                  const Manifest& manifest,
                                                                  const CatalogOptions& options);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_READ_DIGESTS_H_
