#ifndef WEIGHTD_DAEMON_CATALOG_CATALOG_WATCHER_H_
#define WEIGHTD_DAEMON_CATALOG_CATALOG_WATCHER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/thread.h"
#include "common/unique_fd.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/catalog_diff.h"
#include "daemon/catalog/root_scan.h"
#include "daemon/storage/root.h"

namespace weightd {

struct CatalogWatchOptions {
  // How often to look where the kernel does not tell; where it tells, a tenth as often all the
  // same. 1 s to a day.
  absl::Duration scan_interval = absl::Seconds(30);
  // How long a checkpoint must stay as it is before it counts. 0 to 10 minutes.
  absl::Duration settle = absl::Seconds(2);
  absl::Status Validate() const;
};

// What is known of one root, now.
struct RootLook {
  std::string root;
  // How changes below it are noticed: the kernel tells, else it is only looked through.
  bool notified = false;
  std::string reason;                  // why not
  std::optional<FileSystemKind> kind;  // none while the root is not there
  // What the last look that came to an end showed; null before the first.
  std::shared_ptr<const RootScan> scan;
  // Why there is no newer one: the root is not there, cannot be read or does not answer.
  absl::Status problem;
  VolumeThreadsState threads;
};

struct RootLookWork;

// Looks through the roots when something may have changed, each on threads of its own, and tells
// what did. A root that does not answer holds up no other one; what its last look showed stays.
// Thread-safe.
class CatalogWatcher {
 public:
  // All are called on the watcher's thread, and must not wait for a volume.
  struct Listener {
    // What the first look at a root showed, but for models of earlier roots.
    std::function<void(const std::vector<Checkpoint>&)> on_first_look;
    std::function<void(const std::vector<CatalogChange>&)> on_changes;
    // A root that cannot be looked through: the first of several looks in a row.
    std::function<void(const absl::Status&)> on_failure;
    // A root that is there now and was not, or that leads to another directory than before.
    std::function<void(const std::string& root, const std::string& what)> on_reopened;
  };

  // Looks through the roots of `catalog`, which outlives it, and tells it of the last looks, also
  // when the watcher has gone. `clock` is for the times of scans.
  // Fails when the thread or its descriptor cannot be had.
  static absl::StatusOr<std::unique_ptr<CatalogWatcher>> Start(const CatalogWatchOptions& options,
                                                               Catalog& catalog, const Clock& clock,
                                                               Listener listener);
  CatalogWatcher(const CatalogWatcher&) = delete;
  CatalogWatcher& operator=(const CatalogWatcher&) = delete;
  ~CatalogWatcher() { Stop(); }
  // The listener is not called any more; who waits for a refresh is told. Does not wait for a look
  // that goes on.
  void Stop();

  std::vector<RootLook> looks() const;
  // Null before the first look at it.
  std::shared_ptr<const RootScan> last_scan(size_t root) const;

  // Calls `done` once every root was looked through that answers, by a look that begins from here
  // on, or after `timeout`. One look serves all who wait. `done` runs on the watcher's thread, or,
  // once it has stopped, at once; it must be quick.
  void Refresh(absl::Duration timeout, std::function<void()> done);

 private:
  struct Shared;
  struct Entry;
  struct Waiter;

  CatalogWatcher(const CatalogWatchOptions& options, const Catalog& catalog, const Clock& clock,
                 Listener listener);
  void Run();
  // When there is something to do next, if nothing happens before.
  absl::Time NextDue(absl::Time now) const;
  absl::Time FullDue(size_t root, absl::Time now) const;
  void StartLooks(absl::Time now);
  void StartLook(size_t root, bool full, absl::Time now);
  void TakeLooks();
  void TakeLook(size_t root, RootLookWork& look);
  RootScans Scans() const;
  void AnswerWaiters(absl::Time now);
  void TellStuck();
  void Wait(absl::Time due);

  const CatalogWatchOptions options_;
  const Catalog& catalog_;
  const Clock& clock_;
  const Listener listener_;
  const std::shared_ptr<Shared> shared_;

  // The thread's, like the roots.
  struct Following {
    explicit Following(absl::Duration settle) : diff(settle) {}
    CatalogDiff diff;
    std::shared_ptr<const RootScan> scan;
    std::shared_ptr<Volume> volume;  // that the last look was at
    bool looked = false;
    bool failing = false;     // the last look failed, which was told
    bool stuck_told = false;  // calls hang, which was told
    // Whether it is news that calls hang. Looks may go on beside them, and fail or not for the same
    // cause: that is told once.
    bool TakeStuck(bool stuck) {
      const bool told = std::exchange(stuck_told, stuck);
      return stuck && !told && !failing;
    }
    bool was_missing = false;
  };
  std::vector<Following> following_;
  Thread thread_;  // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_CATALOG_WATCHER_H_
