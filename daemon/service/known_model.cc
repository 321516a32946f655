#include "daemon/service/known_model.h"

#include "absl/status/statusor.h"
#include "common/errors.h"
#include "daemon/catalog/model_ref.h"

namespace weightd {

absl::Status ExplainNotResident(const Catalog& catalog, const std::string& model,
                                const absl::Status& status, Asked asked,
                                std::optional<uint32_t> uid) {
  if (GetReason(status) != Reason::kModelNotResident) return status;
  const absl::StatusOr<ModelRef> ref = ParseModelRef(model);
  if (!ref.ok()) return status;
  const absl::Status exists = asked == Asked::kVolumes ? catalog.CheckExists(ref->model, uid)
                                                       : catalog.CheckShown(ref->model);
  return exists.ok() ? status : exists;
}

}  // namespace weightd
