#include "daemon/catalog/root_scan.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/catalog/open_shards.h"
#include "daemon/catalog/scan.h"

namespace weightd {
namespace {

// An index counts for entries of a directory, one for so many bytes.
constexpr uint64_t kIndexBytesPerEntry = uint64_t{16} << 10;

// Looks at the files of all checkpoints of one root. The indexes of each directory in the root,
// with all below it, are read up to a limit: one file may be the index of any number of
// directories.
class FilesLook {
 public:
  FilesLook(Volume& volume, const CatalogOptions& options) : volume_(volume), options_(options) {}

  // LookAtShards(), or LIMIT_EXCEEDED. Leaves no `index` in it.
  absl::Status LookAt(Checkpoint& checkpoint) {
    if (!checkpoint.index_path.empty()) RETURN_IF_ERROR(CountIndex(checkpoint));
    const absl::Status looked = LookAtShards(checkpoint, options_);
    if (checkpoint.index != nullptr) last_index_ = std::exchange(checkpoint.index, nullptr);
    return looked;
  }

 private:
  absl::Status CountIndex(Checkpoint& checkpoint) {
    const absl::StatusOr<PathFacts> facts = volume_.Stat(checkpoint.index_path);
    if (!facts.ok()) return absl::OkStatus();  // reading it says why
    if (checkpoint.index == nullptr) checkpoint.index = last_index_;
    if (checkpoint.index != nullptr && checkpoint.index->identity == facts->identity) {
      return absl::OkStatus();
    }
    checkpoint.index = nullptr;
    const std::string tree = checkpoint.directory.substr(0, checkpoint.directory.find('/'));
    const uint64_t limit = options_.entries_max * kIndexBytesPerEntry;
    uint64_t& bytes = index_bytes_[tree];
    const uint64_t wanted = std::min(facts->identity.size_bytes, kSafetensorsIndexBytesMax);
    if (wanted > limit - bytes) {
      return ErrorWithReason(
          absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
          absl::StrCat("read index ", checkpoint.index_path, ": the indexes of ",
                       tree.empty() ? volume_.root() : tree, " have more than ", limit,
                       " bytes together (", kIndexBytesPerEntry, " for each of ",
                       "limits.catalog_entries_max); raise it, or spread the models over ",
                       "several directories of the root"));
    }
    bytes += wanted;
    return absl::OkStatus();
  }

  Volume& volume_;
  const CatalogOptions options_;
  std::map<std::string, uint64_t, std::less<>> index_bytes_;  // by the directory in the root
  std::shared_ptr<const CheckpointIndex> last_index_;
};

}  // namespace

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
  FilesLook look(*volume, options);
  for (Checkpoint& checkpoint : all.checkpoints) {
    const absl::Status looked = look.LookAt(checkpoint);
    if (!looked.ok()) checkpoint.problem = std::string(looked.message());
    checkpoint.index.reset();
  }
  return all;
}

}  // namespace weightd
