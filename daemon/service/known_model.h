#ifndef WEIGHTD_DAEMON_SERVICE_KNOWN_MODEL_H_
#define WEIGHTD_DAEMON_SERVICE_KNOWN_MODEL_H_

#include <string>

#include "absl/status/status.h"
#include "daemon/catalog/catalog.h"

namespace weightd {

// What a caller is told who asked for `model`, as requests name models, and got `status`: the same,
// or the NOT_FOUND/MODEL_NOT_FOUND of Catalog::CheckExists() where that is MODEL_NOT_RESIDENT and
// no root has the model, so that nobody stages what is not there. Blocks as CheckExists() does
// then. Thread-safe.
absl::Status ExplainNotResident(const Catalog& catalog, const std::string& model,
                                const absl::Status& status);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_KNOWN_MODEL_H_
