#ifndef WEIGHTD_DAEMON_CATALOG_ROOT_CHECK_H_
#define WEIGHTD_DAEMON_CATALOG_ROOT_CHECK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "daemon/storage/read_speed.h"
#include "daemon/storage/volume.h"

namespace weightd {

struct RootFacts {
  std::string root;
  FileSystemKind kind = FileSystemKind::kLocal;
  std::string file;               // empty: no checkpoint is there
  uint32_t direct_alignment = 0;  // 0: no direct reads
  std::optional<ReadSpeed> speed;
  std::string error;  // why not all of it is known
};

// Looks at the largest file that a checkpoint of this root has and, with `read`, how fast it comes.
RootFacts CheckRoot(const std::shared_ptr<Volume>& volume, const CatalogOptions& options, bool read,
                    const ReadSpeedLimits& limits);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_ROOT_CHECK_H_
