#ifndef WEIGHTD_DAEMON_CATALOG_SCAN_H_
#define WEIGHTD_DAEMON_CATALOG_SCAN_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
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
// What is no model: hidden names (".no_exist", ".cache"), the blobs and refs of a hub cache, its
// data sets and spaces, names that ValidateModelName refuses. Weights under a name that is not
// UTF-8 are a model with a problem.
//
// A directory is visited once, by its own path if it has one that leads through no link: links that
// go in a circle end, and a model is listed once. Of each tree below the root (a directory in it,
// with all below) and of the root itself `entries_max` entries are looked at, the upper directories
// before the lower ones: a directory that has too many is a model with a problem, and what else is
// there is found all the same.
//
// Thread-compatible; used for one call.
class Scan {
 public:
  // What is found has `file_bytes` 0 and, with an index, no `shard_paths`.
  Scan(std::shared_ptr<Volume> volume, const CatalogOptions& options)
      : volume_(std::move(volume)), options_(options) {}

  // Everything below the root, sorted by model and each model once. Directories that cannot be
  // read are passed over; an error is the root's. Of a root with more than `entries_max` entries
  // not all are known (root_problem()).
  absl::StatusOr<std::vector<Checkpoint>> All();
  // Why All() did not see everything that is in the root itself; else OK.
  const absl::Status& root_problem() const { return root_problem_; }

  // The checkpoint that All() would give for `model`, which must be valid, looking only where it
  // can be; empty if there is none. Of any size of root.
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
    bool through_link = false;
    std::string problem{};  // it, or one above it, cannot be named
  };
  // What is left to look at of a directory in the root, with all below.
  struct Tree {
    uint64_t entries_left = 0;
    size_t lost_count = 0;  // directories that had too many entries
    size_t lost_index = 0;  // of the first of them in `found_`
  };

  Tree& TreeOf(absl::string_view path);
  // Tells a directory that is too large as a model with the problem `why`.
  void Lose(const Directory& directory, const absl::Status& why);
  // Whether no directory that was visited is this one, which is reached through a link.
  bool IsNew(const Directory& directory);
  void AddChildren(const Directory& parent, const std::vector<DirEntry>& entries);
  void Visit(const Directory& directory);
  Checkpoint Named(std::string model) const;
  absl::StatusOr<DirListing> ListCounted(absl::string_view directory);
  absl::Status TooManyEntries(absl::string_view directory) const;
  // Of a root that has too many entries, some.
  absl::StatusOr<std::vector<DirEntry>> ListRoot();
  // The files of the root that a model of this name can be, looked up one by one.
  std::vector<DirEntry> FilesInRoot(absl::string_view model);
  void FindInRoot(const std::vector<DirEntry>& entries);
  void FindInDirectory(const Directory& directory, const DirListing& listing);
  // The snapshot of a hub cache's repository that counts, or "" if it has none.
  absl::StatusOr<std::string> ChooseRevision(const std::string& repository);
  // The one of `revisions` that `wanted_revision_` names, or "".
  std::string NamedRevision(const std::string& repository,
                            const std::vector<std::string>& revisions);
  // The commit that a file below refs/ holds, or "".
  std::string RevisionOfRef(const std::string& repository, absl::string_view ref);
  int64_t NewestWeights(const std::string& snapshot);
  void VisitHub(const Directory& repository);
  absl::Status LookInHub(absl::string_view model);
  absl::Status Look(const Directory& directory);
  std::vector<Checkpoint> TakeBest();
  std::vector<Checkpoint> TakeBestOf(absl::string_view model);

  const std::shared_ptr<Volume> volume_;
  const CatalogOptions options_;
  std::map<std::string, Tree, std::less<>> trees_;  // by name of the directory; "" for the root
  std::deque<Directory> pending_;                   // the upper ones first
  std::deque<Directory> linked_;                    // reached through a link: after all others
  std::vector<std::string> visited_;                // by their own paths
  // Device and inode of what was visited; empty until the first link makes it matter.
  std::set<std::pair<uint64_t, uint64_t>> visited_ids_;
  absl::Status root_problem_;
  std::string wanted_revision_;  // empty: the one that counts
  std::vector<Checkpoint> found_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_SCAN_H_
