#ifndef WEIGHTD_DAEMON_CATALOG_SCAN_H_
#define WEIGHTD_DAEMON_CATALOG_SCAN_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/catalog/catalog.h"
#include "daemon/storage/volume.h"

namespace weightd {

// Finds the checkpoints below one root by the names of directories and files. No weight file is
// opened; indexes in the root itself and refs/main are read.
//
// What is no model: hidden names (".no_exist", ".cache"), the blobs and refs of a hub cache, names
// that ValidateModelName refuses. Thread-compatible; used for one call.
class Scan {
 public:
  // What is found has `file_bytes` 0 and, with an index, no `shard_paths`.
  Scan(std::shared_ptr<Volume> volume, const CatalogOptions& options)
      : volume_(std::move(volume)), options_(options), entries_left_(options.entries_max) {}

  // Everything below the root, sorted by model and each model once. Directories that cannot be
  // read are passed over; an error is the root's, or LIMIT_EXCEEDED past `entries_max`.
  absl::StatusOr<std::vector<Checkpoint>> All();

  // The checkpoint that All() would give for `model`, which must be valid, looking only where it
  // can be; empty if there is none.
  absl::StatusOr<std::vector<Checkpoint>> One(absl::string_view model);

  // Likewise, the snapshot of a hub cache's model that `revision` names: a commit, 7 characters of
  // it or more that fit one snapshot, or a name below refs/.
  absl::StatusOr<std::vector<Checkpoint>> OneRevision(absl::string_view model,
                                                      absl::string_view revision);

 private:
  struct Directory {
    std::string path;
    std::string model;
    std::string revision;
    uint32_t depth = 0;
  };

  Checkpoint Named(std::string model) const;
  absl::StatusOr<std::vector<DirEntry>> ListCounted(absl::string_view directory);
  void FindInRoot(const std::vector<DirEntry>& entries);
  void FindInDirectory(const Directory& directory, const std::vector<DirEntry>& entries);
  // The snapshot of a hub cache's repository that counts, or "" if it has none.
  absl::StatusOr<std::string> ChooseRevision(const std::string& repository);
  // The one of `revisions` that `wanted_revision_` names, or "".
  std::string NamedRevision(const std::string& repository,
                            const std::vector<std::string>& revisions);
  // The commit that a file below refs/ holds, or "".
  std::string RevisionOfRef(const std::string& repository, absl::string_view ref);
  int64_t NewestWeights(const std::string& snapshot);
  absl::Status VisitHub(const Directory& repository, std::vector<Directory>& pending);
  absl::Status LookInHub(absl::string_view model);
  absl::Status Look(const Directory& directory);
  std::vector<Checkpoint> TakeBest();
  std::vector<Checkpoint> TakeBestOf(absl::string_view model);

  const std::shared_ptr<Volume> volume_;
  const CatalogOptions options_;
  uint64_t entries_left_;
  std::string wanted_revision_;  // empty: the one that counts
  std::vector<Checkpoint> found_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_SCAN_H_
