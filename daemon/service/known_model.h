#ifndef WEIGHTD_DAEMON_SERVICE_KNOWN_MODEL_H_
#define WEIGHTD_DAEMON_SERVICE_KNOWN_MODEL_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "daemon/catalog/catalog.h"

namespace weightd {

// Who is asked whether there is a model.
enum class Asked {
  kVolumes,    // Catalog::CheckExists(), which blocks
  kLastLooks,  // Catalog::CheckShown()
};

// What a caller is told who asked for `model`, as requests name models, and got `status`: the same,
// or NOT_FOUND/MODEL_NOT_FOUND where that is MODEL_NOT_RESIDENT and no root has the model, so that
// nobody stages what is not there. Thread-safe.
absl::Status ExplainNotResident(const Catalog& catalog, const std::string& model,
                                const absl::Status& status, Asked asked,
                                std::optional<uint32_t> uid = std::nullopt);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_KNOWN_MODEL_H_
