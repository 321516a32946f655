#ifndef WEIGHTD_DAEMON_CATALOG_ROOT_CHECK_H_
#define WEIGHTD_DAEMON_CATALOG_ROOT_CHECK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

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

// Looks at the largest file that a checkpoint of this root has and, with `read`, how fast it comes:
// on the root's threads, for as long as it gets on, but no longer than `patience` without an answer
// of the volume. `last` is what the last look through the root showed; without one it is looked
// through.
RootFacts CheckRoot(const std::shared_ptr<Root>& root, std::shared_ptr<const RootScan> last,
                    const CatalogOptions& options, bool read, const ReadSpeedLimits& limits,
                    absl::Duration patience = absl::Seconds(10));

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_ROOT_CHECK_H_
