#ifndef WEIGHTD_DAEMON_CATALOG_CATALOG_H_
#define WEIGHTD_DAEMON_CATALOG_CATALOG_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/format/digest_manifest.h"
#include "daemon/format/manifest.h"
#include "daemon/format/safetensors_index.h"
#include "daemon/storage/root.h"
#include "daemon/storage/volume.h"
#include "daemon/storage/volume_threads.h"

// Which checkpoints exist below the roots, under which names.
//
//   below a root                            model
//   x.safetensors                           x         in the root itself
//   x.tensors                               x         likewise, where there is no x.safetensors
//   x.safetensors.index.json + its shards   x         in the root itself
//   d/*.safetensors                         d         with or without an index; a/b/d for nested
//   d/*.tensors                             d         where d has no safetensors file
//   models--org--name/snapshots/<rev>/...   org/name  a Hugging Face hub cache: refs/main names
//                                                     the revision, else the only snapshot, else
//                                                     the one with the newest weight file
//
// An index decides which files of its directory count. Where a directory has several, it is
// model.safetensors.index.json. Without one all files of the format count, and those that a
// name like x-00001-of-00003.safetensors promises must be there.
//
// Every call reads directories, so that a model that was just copied is found; what the last looks
// through the roots showed (catalog_watcher.h) decides only about a root that does not answer.
// Each root's work runs on the root's threads. Thread-safe.

namespace weightd {

// What an index file held when it was read.
struct CheckpointIndex {
  FileIdentity identity;  // of the file
  SafetensorsIndex content;
};

// A checkpoint that was found; its files have not been opened.
struct Checkpoint {
  std::string model;
  std::shared_ptr<Volume> volume;
  std::string directory;  // that holds the files, relative to the root; "" is the root
  std::string revision;   // of a hub cache, else empty
  std::vector<std::string> shard_paths;  // relative to the root, sorted
  std::string index_path;                // empty without an index
  uint64_t file_bytes = 0;               // sum of the shards' sizes
  std::vector<FileIdentity> identities;  // of the shards; empty where they could not be opened
  // The numbers of all volumes that opening it touches, as far as they are known: those of the
  // directory, the index and the shards.
  std::set<uint64_t> volumes;
  // Why it cannot be opened, where that shows without reading headers (an index that is not valid,
  // or names a missing shard): the text that Open() would give. Empty is good.
  std::string problem;
  // What Find() had to pass over, each a sentence: a root that does not answer and had no such
  // model.
  std::vector<std::string> fallbacks;
  // From Find(), where the checkpoint has one: Open() reads it again only where the file is not
  // what it was. Large, so neither List() nor Open() give it out.
  std::shared_ptr<const CheckpointIndex> index;
};

// A checkpoint whose files are open and whose headers have been read and checked.
struct OpenedCheckpoint {
  Checkpoint checkpoint;
  Manifest manifest;
  std::vector<std::shared_ptr<File>> files;  // like manifest.shards
  // What the tensors must be, where a digest manifest lies beside the checkpoint; else null.
  std::shared_ptr<const DigestManifest> digests;

  // OK while every path still names the file that was opened, unchanged (File::CheckUnchanged).
  absl::Status CheckUnchanged() const;
};

struct CatalogOptions {
  uint32_t depth_max = 8;  // directories below a root, 1..32
  // Entries looked at of each directory in a root, with all below it, 1..10,000,000.
  uint32_t entries_max = 100'000;
  uint32_t shards_max = 4096;        // files of one checkpoint, 1..65536
  uint64_t tensors_max = 1'000'000;  // of one checkpoint, 1..16,000,000
  uint32_t header_threads = 8;       // headers read at once, 1..64
  absl::Status Validate() const;
};

// INVALID_ARGUMENT/PATH_OUTSIDE_ROOT for "..", ".", an absolute path, an empty component, NUL and
// other control characters or more than 512 bytes, INVALID_ARGUMENT/INVALID_REQUEST for '@'; OK for
// a name that a model could have.
absl::Status ValidateModelName(absl::string_view model);

struct RootScan;

// How long the roots that may have a model, but did not have it when they were last looked through,
// keep the roots behind them waiting, all together.
inline constexpr absl::Duration kRootPatience = absl::Seconds(1);
// A root that has not answered after this is no reason not to ask the next.
inline constexpr absl::Duration kPromptAnswer = absl::Milliseconds(100);

// For messages, and whose threads do it.
VolumeWork OpenWork(const Checkpoint& checkpoint, VolumeUsers users = {});
// What Catalog::Open() gives, made on this thread and helpers of it.
absl::StatusOr<OpenedCheckpoint> OpenCheckpoint(const Checkpoint& checkpoint,
                                                const CatalogOptions& options);

class Catalog {
 public:
  // What the last look through a root showed, by the root's place; null where there was none. Must
  // not block.
  using LastScans = std::function<std::shared_ptr<const RootScan>(size_t root)>;

  // Where two roots have a model of one name, the earlier root's is meant.
  Catalog(std::vector<std::shared_ptr<Root>> roots, CatalogOptions options);
  // Of volumes that stay what they are.
  Catalog(const std::vector<std::shared_ptr<Volume>>& volumes, CatalogOptions options);

  // Before the first call from another thread.
  void set_last_scans(LastScans last_scans) { last_scans_ = std::move(last_scans); }

  const std::vector<std::shared_ptr<Root>>& roots() const { return roots_; }
  const CatalogOptions& options() const { return options_; }

  // Sorted by model. A root that cannot be read is an error; a directory below it that cannot be
  // read is passed over.
  absl::StatusOr<std::vector<Checkpoint>> List() const;

  // With a revision, that snapshot of a hub cache's model: see Scan::OneRevision().
  // NOT_FOUND/MODEL_NOT_FOUND (the text names near misses, if any) or the errors of
  // ValidateModelName. A root whose last look showed the model is waited for, and its error is
  // returned. Any other one that cannot be read, or does not answer within kRootPatience, is passed
  // over for the roots behind it (Checkpoint::fallbacks). Where those have no such model either, a
  // slow root is waited for, and the error of one that was never read is returned, a DATA_LOSS as
  // UNAVAILABLE: nothing is known to be wrong with the model.
  // Where it is for users, the calls of volumes of each wait for each other, and hold up no others.
  absl::StatusOr<Checkpoint> Find(absl::string_view model, absl::string_view revision = "",
                                  VolumeUsers users = {}) const;

  // Whether a root has the model: NOT_FOUND/MODEL_NOT_FOUND, with near misses, where none has. OK
  // also while that cannot be told: a root that cannot be read, or does not answer within
  // kRootPatience, may have it. Asks no volume where the last look showed the model.
  absl::Status CheckExists(absl::string_view model, VolumeUsers users = {}) const;
  // Likewise by the last look through each root alone: asks no volume, and never waits. OK also
  // where a root was not looked through yet.
  absl::Status CheckShown(absl::string_view model) const;

  // Checkpoint::volumes by the last look through each root; none where that did not show the model.
  // Asks no volume, and never waits.
  std::set<uint64_t> VolumesShown(absl::string_view model) const;
  std::set<uint64_t> VolumesShown(size_t root, absl::string_view model) const;

  // Opens the files and reads every header, several at once. DATA_LOSS/CHECKPOINT_INVALID with
  // file, offset and rule; READ_FAILED; PATH_OUTSIDE_ROOT; RESOURCE_EXHAUSTED/LIMIT_EXCEEDED past
  // the options' maxima.
  absl::StatusOr<OpenedCheckpoint> Open(const Checkpoint& checkpoint, VolumeUsers users = {}) const;

 private:
  // What is asked of each root.
  struct Wanted {
    absl::string_view model;
    absl::string_view revision;
    VolumeUsers users;
  };
  // What the roots said that have no such checkpoint.
  struct Search {
    absl::Status outside;                  // a link that leads out of a root
    absl::Status untold;                   // a root of which nothing is known
    std::vector<std::string> passed_over;  // a sentence each
    std::vector<size_t> slow;              // roots that are worth a longer wait
  };
  using Found = std::optional<Checkpoint>;
  // What a root was asked, and how long it may take.
  struct Question {
    size_t root = 0;
    bool briefly = false;
    std::optional<VolumeThreads::Pending<Found>> pending = {};
    std::optional<absl::StatusOr<Found>> answer = {};  // of a root without threads
    bool is_asked() const { return pending.has_value() || answer.has_value(); }
  };

  // Looks in one root, which is looked up again: no checkpoint where it has none.
  void Ask(const Wanted& wanted, Question& question) const;
  // The first root that has the model, in the order of `questions`; while one is slow to answer,
  // those behind it are asked as well. An error ends the search; one that lets the other roots be
  // asked is in `search`.
  absl::StatusOr<Found> FindFirst(const Wanted& wanted, std::vector<Question> questions,
                                  Search& search) const;
  // What an answer means for the search: see FindFirst().
  absl::StatusOr<Found> Weigh(const Wanted& wanted, Question& question, Search& search) const;
  // Whether the roots behind this one need not wait until it is known to hang.
  bool AsksBriefly(size_t root, const Wanted& wanted) const;
  std::shared_ptr<const RootScan> LastScan(size_t root) const {
    return last_scans_ ? last_scans_(root) : nullptr;
  }
  bool LastShowed(size_t root, absl::string_view model) const;
  absl::Status NotFound(const Wanted& wanted, const std::vector<std::string>& passed_over) const;
  std::vector<std::string> NamesForHints() const;

  std::vector<std::shared_ptr<Root>> roots_;
  CatalogOptions options_;
  LastScans last_scans_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_CATALOG_H_
