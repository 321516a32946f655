#ifndef WEIGHTD_DAEMON_CATALOG_CATALOG_DIFF_H_
#define WEIGHTD_DAEMON_CATALOG_CATALOG_DIFF_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "daemon/catalog/catalog.h"

namespace weightd {

// What became of a model on the volume.
struct CatalogChange {
  enum class Kind { kAdded, kChanged, kRemoved };
  Kind kind = Kind::kChanged;
  std::string model;
  std::string revision;     // of a hub cache
  uint64_t file_bytes = 0;  // 0 with kRemoved
};

// Tells from looks at the volume, one after another, what changed. A change is told when two looks
// that are `settle` apart show the same: a checkpoint that is still being copied changes all the
// time. One with a problem (a shard is missing) is waited for, too. Thread-compatible; it has no
// clock: times are the caller's.
class CatalogDiff {
 public:
  explicit CatalogDiff(absl::Duration settle) : settle_(settle) {}

  // The first look tells nothing: what is there then is what there is.
  std::vector<CatalogChange> Look(const std::vector<Checkpoint>& checkpoints, absl::Time now);

  // When to look again for what has not settled; none when all has.
  std::optional<absl::Time> next_look() const;

 private:
  struct State {
    std::string root;
    std::string revision;
    std::vector<FileIdentity> identities;
    std::string problem;
    uint64_t file_bytes = 0;
    friend bool operator==(const State&, const State&) = default;
  };
  using States = std::map<std::string, State>;  // by model
  // What a model may have become, since a look.
  struct Pending {
    std::optional<State> state;  // none: it is gone
    absl::Time since;
  };

  static States StatesOf(const std::vector<Checkpoint>& checkpoints);
  // True when it has settled, and is known from here on.
  bool Settle(const std::string& model, const std::optional<State>& now, absl::Time time);

  absl::Duration settle_;
  std::optional<States> known_;  // none before the first look
  std::map<std::string, Pending> pending_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_CATALOG_DIFF_H_
