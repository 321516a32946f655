#include "daemon/service/daemon_info.h"

#include "absl/strings/str_cat.h"
#include "daemon/service/proto_convert.h"

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

void FillStateFile(const DaemonInfo& info, v1::StateFile& file) {
  file.set_error(StateError(info));
  if (info.state == nullptr) return;
  const DeferredWriter::State state = info.state->state();
  if (!state.error.ok()) ToProto(state.failing_since, *file.mutable_failing_since());
  if (state.stored_time > absl::InfinitePast()) {
    ToProto(state.stored_time, *file.mutable_written_time());
  }
}

}  // namespace weightd
