#include "daemon/catalog/root_scan.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/status_macros.h"
#include "daemon/catalog/open_shards.h"
#include "daemon/catalog/scan.h"

namespace weightd {

const Checkpoint* RootScan::Find(absl::string_view model) const {
  const auto found = std::lower_bound(
      checkpoints.begin(), checkpoints.end(), model,
      [](const Checkpoint& checkpoint, absl::string_view name) { return checkpoint.model < name; });
  return found != checkpoints.end() && found->model == model ? &*found : nullptr;
}

const Checkpoint* FindIn(absl::Span<const std::shared_ptr<const RootScan>> scans,
                         absl::string_view model) {
  for (const std::shared_ptr<const RootScan>& scan : scans) {
    if (scan == nullptr) continue;
    if (const Checkpoint* found = scan->Find(model)) return found;
  }
  return nullptr;
}

std::vector<CatalogChange> VisibleChanges(size_t root, const RootScans& scans,
                                          std::vector<CatalogChange> changes) {
  const auto all = absl::MakeConstSpan(scans);
  std::erase_if(changes, [&](const CatalogChange& change) {
    return FindIn(all.first(root), change.model) != nullptr;
  });
  for (CatalogChange& change : changes) {
    const Checkpoint* behind = FindIn(all.subspan(root + 1), change.model);
    if (behind == nullptr) continue;
    if (change.kind == CatalogChange::Kind::kRemoved) {
      change.revision = behind->revision;
      change.file_bytes = behind->file_bytes;
    }
    change.kind = CatalogChange::Kind::kChanged;
  }
  return changes;
}

absl::StatusOr<VolumeScan> ScanVolume(const std::shared_ptr<Volume>& volume,
                                      const CatalogOptions& options) {
  Scan scan(volume, options);
  VolumeScan all;
  ASSIGN_OR_RETURN(all.checkpoints, scan.All());
  all.problem = scan.root_problem();
  for (Checkpoint& checkpoint : all.checkpoints) {
    const absl::Status looked = LookAtShards(checkpoint, options);
    if (!looked.ok()) checkpoint.problem = std::string(looked.message());
    checkpoint.index.reset();
  }
  return all;
}

}  // namespace weightd
