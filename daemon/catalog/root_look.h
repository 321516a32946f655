#ifndef WEIGHTD_DAEMON_CATALOG_ROOT_LOOK_H_
#define WEIGHTD_DAEMON_CATALOG_ROOT_LOOK_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/root_scan.h"
#include "daemon/storage/root.h"
#include "daemon/storage/tree_watch.h"

namespace weightd {

// One look at a root: what goes in, and what it found out. It owns all that it touches, since it
// may never end.
struct RootLookWork {
  std::shared_ptr<Root> root;
  CatalogOptions options;
  // That the watch is of.
  std::shared_ptr<Volume> watched;
  absl::Time start;

  // Else it is looked through only if it leads elsewhere, or the kernel told of a change.
  bool full = false;
  std::unique_ptr<TreeWatch> watch;
  std::string not_notified;  // why there is no watch

  std::shared_ptr<Volume> volume;  // null: the root is not there
  std::shared_ptr<RootScan> scan;  // null: nothing new
  absl::Status problem;
};

// Looks the root up again and, where that is due, through it; keeps the watch of its directories,
// or makes one. On this thread, which is one of the root's.
void LookAtRoot(RootLookWork& work);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_ROOT_LOOK_H_
