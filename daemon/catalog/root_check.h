#ifndef WEIGHTD_DAEMON_CATALOG_ROOT_CHECK_H_
#define WEIGHTD_DAEMON_CATALOG_ROOT_CHECK_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/root_scan.h"
#include "daemon/storage/read_speed.h"
#include "daemon/storage/root.h"
#include "daemon/storage/volume.h"

namespace weightd {

struct RootFacts {
  std::string root;
  FileSystemKind kind = FileSystemKind::kLocal;
  std::string file;               // empty: no checkpoint is there
  uint32_t direct_alignment = 0;  // 0: no direct reads
  std::optional<ReadSpeed> speed;
  std::string error;   // why not all of it is known
  std::string reason;  // the word of that error, if it has one
};

// Looks at the roots for `doctor`: at the largest file that a checkpoint of each has and, with
// `read`, how fast it comes.
//
// Of each root one look at a time, for all who ask meanwhile; one that the volume does not answer
// is given up after `patience` without an answer, and not begun again before it has come back: who
// asks again learns at once that it hangs. Thread-safe.
class RootChecker {
 public:
  explicit RootChecker(std::vector<std::shared_ptr<Root>> roots, const CatalogOptions& options,
                       const ReadSpeedLimits& limits = {},
                       absl::Duration patience = absl::Seconds(10));

  // Of every root, in their order, side by side. `last_scans` is what the last look through each
  // showed; a root without one is looked through.
  std::vector<RootFacts> Check(const Catalog::LastScans& last_scans, bool read);

 private:
  struct Look;
  struct Place {
    std::shared_ptr<Root> root;
    // The last, without and with `read`; null before the first.
    std::array<std::shared_ptr<Look>, 2> looks = {};
  };

  RootFacts CheckOne(Place& place, std::shared_ptr<const RootScan> last, bool read);
  RootFacts Run(const std::shared_ptr<Root>& root, std::shared_ptr<const RootScan> last, bool read,
                const std::shared_ptr<Look>& look) const;

  const CatalogOptions options_;
  const ReadSpeedLimits limits_;
  const absl::Duration patience_;
  absl::Mutex mu_;             // of the looks
  std::vector<Place> places_;  // the roots are fixed
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_ROOT_CHECK_H_
