#ifndef WEIGHTD_DAEMON_SERVICE_MODEL_LISTING_H_
#define WEIGHTD_DAEMON_SERVICE_MODEL_LISTING_H_

#include "absl/status/status.h"
#include "daemon/catalog/catalog.h"
#include "daemon/residency/residency.h"
#include "weightd/v1/weight_cache.pb.h"

// ListModels and GetModel: what the volume holds joined with what is in memory. Both read the
// volume and may block. Thread-safe.

namespace weightd {

absl::Status ListModels(const Catalog& catalog, const Residency& residency,
                        const v1::ListModelsRequest& request, v1::ListModelsResponse& response);

// What WatchModels sends: the models in memory, or `only` one. Does not block.
void ListResident(const Residency& residency, const std::string& only,
                  v1::WatchModelsResponse& response);

absl::Status GetModel(const Catalog& catalog, const Residency& residency,
                      const v1::GetModelRequest& request, v1::GetModelResponse& response);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_MODEL_LISTING_H_
