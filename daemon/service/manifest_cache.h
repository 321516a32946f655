#ifndef WEIGHTD_DAEMON_SERVICE_MANIFEST_CACHE_H_
#define WEIGHTD_DAEMON_SERVICE_MANIFEST_CACHE_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "daemon/catalog/catalog.h"
#include "daemon/service/model_listing.h"

namespace weightd {

// Whether both are the same files.
bool IsSameCheckpoint(const Checkpoint& a, const Checkpoint& b);

// The manifests of the last few models that somebody leafed through, in order: a page of tensors
// needs neither headers nor sorting anew. Thread-compatible; times are the caller's.
class ManifestCache {
 public:
  using Entry = std::shared_ptr<const SortedManifest>;

  // Null where it is not kept. `manifest`: of a copy in memory.
  Entry Find(const std::shared_ptr<const Manifest>& manifest, absl::Time now);
  Entry Find(const Checkpoint& checkpoint, absl::Time now);
  // Another one goes where there are too many. Without a checkpoint it is found by its manifest.
  void Keep(Entry tensors, std::optional<Checkpoint> checkpoint, absl::Time now);

  // Takes what nobody used for a while; to be destroyed where that may take time.
  std::vector<Entry> TakeOld(absl::Time now);
  // When there is something to take.
  absl::Time next_old() const;

 private:
  struct Kept {
    Entry tensors;
    std::optional<Checkpoint> checkpoint;
    absl::Time last_use;
  };

  std::vector<Kept> kept_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_MANIFEST_CACHE_H_
