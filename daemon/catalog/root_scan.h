#ifndef WEIGHTD_DAEMON_CATALOG_ROOT_SCAN_H_
#define WEIGHTD_DAEMON_CATALOG_ROOT_SCAN_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/catalog_diff.h"
#include "daemon/storage/volume.h"

namespace weightd {

// What a look through one root showed. Immutable once made, and shared.
struct RootScan {
  std::vector<Checkpoint> checkpoints;  // sorted by model, each once; without `index`
  absl::Time time;                      // when it was over

  // Null without such a model.
  const Checkpoint* Find(absl::string_view model) const;
};

// Of each root, null where it was never looked through.
using RootScans = std::vector<std::shared_ptr<const RootScan>>;

// Null where none of them has such a model.
const Checkpoint* FindIn(absl::Span<const std::shared_ptr<const RootScan>> scans,
                         absl::string_view model);

// What `changes` of one root are to who knows all roots: a model of an earlier root hides one of a
// later root.
std::vector<CatalogChange> VisibleChanges(size_t root, const RootScans& scans,
                                          std::vector<CatalogChange> changes);

// Looks through the volume of one root, on this thread: every checkpoint, with the identities of
// its files. Files are looked at and not opened, but for indexes. An error is that of the root
// itself; a directory that cannot be read is passed over, one that is too large is told as a
// checkpoint with a problem.
struct VolumeScan {
  std::vector<Checkpoint> checkpoints;
  absl::Status problem;  // why there may be more: the root itself is too large
};
absl::StatusOr<VolumeScan> ScanVolume(const std::shared_ptr<Volume>& volume,
                                      const CatalogOptions& options);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_ROOT_SCAN_H_
