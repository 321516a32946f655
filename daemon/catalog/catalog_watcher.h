#ifndef WEIGHTD_DAEMON_CATALOG_CATALOG_WATCHER_H_
#define WEIGHTD_DAEMON_CATALOG_CATALOG_WATCHER_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/catalog_diff.h"
#include "daemon/storage/tree_watch.h"

namespace weightd {

struct CatalogWatchOptions {
  // How often to look where the kernel does not tell; where it tells, a tenth as often all the
  // same. 1 s to a day.
  absl::Duration scan_interval = absl::Seconds(30);
  // How long a checkpoint must stay as it is before it counts. 0 to 10 minutes.
  absl::Duration settle = absl::Seconds(2);
  absl::Status Validate() const;
};

// How changes below one root are noticed.
struct RootWatchInfo {
  std::string root;
  bool notified = false;  // else it is only looked through
  std::string reason;     // why not
};

// Looks through the volumes when something may have changed, on a thread of its own, and tells what
// did. Thread-safe.
class CatalogWatcher {
 public:
  // All are called on the watcher's thread.
  struct Listener {
    // What the first look showed.
    std::function<void(const std::vector<Checkpoint>&)> on_first_look;
    std::function<void(const std::vector<CatalogChange>&)> on_changes;
    // A root that cannot be looked through: the first of several looks in a row.
    std::function<void(const absl::Status&)> on_failure;
  };

  // `catalog` is of `volumes` and outlives it. `depth_max`: the catalog's. Fails when the thread
  // cannot be had.
  static absl::StatusOr<std::unique_ptr<CatalogWatcher>> Start(
      const CatalogWatchOptions& options, const Catalog& catalog,
      const std::vector<std::shared_ptr<Volume>>& volumes, uint32_t depth_max, Listener listener);
  CatalogWatcher(const CatalogWatcher&) = delete;
  CatalogWatcher& operator=(const CatalogWatcher&) = delete;
  ~CatalogWatcher() { Stop(); }
  // Waits for a look that goes on; then the listener is not called any more.
  void Stop();

  std::vector<RootWatchInfo> roots() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  CatalogWatcher(const CatalogWatchOptions& options, const Catalog& catalog, Listener listener)
      : options_(options),
        catalog_(catalog),
        listener_(std::move(listener)),
        diff_(options.settle) {}
  void WatchRoots(const std::vector<std::shared_ptr<Volume>>& volumes, uint32_t depth_max);
  void Run();
  void Look(absl::Time now);
  // Until something happens or `due`; false at the end.
  bool Wait(absl::Time due);
  // Whether the kernel told of a change.
  bool TakeHints();
  absl::Duration ScanInterval() const;

  const CatalogWatchOptions options_;
  const Catalog& catalog_;
  const Listener listener_;
  UniqueFd stop_;  // an eventfd(2)

  // The thread's.
  CatalogDiff diff_;
  std::vector<std::unique_ptr<TreeWatch>> watches_;  // like roots_; null where there is none
  bool failing_ = false;
  bool looked_ = false;

  mutable absl::Mutex mu_;
  std::vector<RootWatchInfo> roots_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;  // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_CATALOG_WATCHER_H_
