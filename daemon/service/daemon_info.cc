#include "daemon/service/daemon_info.h"

#include "absl/strings/str_cat.h"

namespace weightd {

std::string StateError(const DaemonInfo& info) {
  if (info.state == nullptr) return info.state_problem;
  return std::string(info.state->state().error.message());
}

Warnings AllWarnings(const DaemonInfo& info) {
  Warnings warnings = info.warnings;
  if (const std::string error = StateError(info); !error.empty()) {
    warnings.push_back({.reason = WarningReason::kStateNotSaved,
                        .text = absl::StrCat("pins will not be kept over a restart: ", error)});
  }
  return warnings;
}

}  // namespace weightd
