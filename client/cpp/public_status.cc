#include "client/cpp/public_status.h"

#include <optional>
#include <string>

#include "common/errors.h"

namespace weightd::client {

Status ToPublicStatus(const absl::Status& status) {
  if (status.ok()) return {};
  const std::optional<Reason> reason = GetReason(status);
  return {static_cast<StatusCode>(status.code()),
          reason.has_value() ? std::string(ReasonName(*reason)) : std::string(),
          std::string(status.message())};
}

absl::Status FromPublicStatus(const Status& status) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.code());
  const std::optional<Reason> reason = ReasonFromName(status.reason());
  if (reason.has_value()) return ErrorWithReason(code, *reason, status.message());
  return absl::Status(code, status.message());
}

}  // namespace weightd::client
