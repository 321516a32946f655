#include "daemon/main/reloader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/bounded_call.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/config/settings.h"

namespace weightd {
namespace {

// The main thread waits for it, and sees no SIGTERM meanwhile: a drain has the time for both.
constexpr absl::Duration kLoadTimeout = absl::Seconds(1);

std::vector<std::string> NewOf(const std::vector<std::string>& before,
                               const std::vector<std::string>& after) {
  std::vector<std::string> fresh;
  for (const std::string& name : after) {
    if (std::find(before.begin(), before.end(), name) == before.end()) fresh.push_back(name);
  }
  return fresh;
}

}  // namespace

absl::StatusOr<Reloader::Reloaded> Reloader::Reload() {
  absl::StatusOr<Configuration> loaded =
      CallWithin<Configuration>(kLoadTimeout, "read the configuration", load_);
  if (!loaded.ok()) return Annotate(loaded.status(), "nothing was changed");
  ChangedSettings changed = CompareSettings(running_.config, loaded->config);
  if (!changed.fixed.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("nothing was changed: ", absl::StrJoin(changed.fixed, ", "),
                     " may not change while the daemon runs; restart it, or take ",
                     changed.fixed.size() == 1 ? "that" : "those", " back"));
  }
  const DaemonOptions& options = loaded->options;
  to_.logger.Configure(options.log_format, options.log_level);
  to_.access.Set(options.access);
  to_.leases.set_limits(options.leases);
  to_.uid_limits.Set(options.uid_limits);
  to_.residency.set_stage_defaults(options.residency.defaults);
  to_.refresher.set_options(MakeRefresherOptions(options));
  Reloaded reloaded{.settings = std::move(changed.reloaded),
                    .new_preloads = NewOf(running_.options.preload, options.preload)};
  running_ = *std::move(loaded);
  return reloaded;
}

}  // namespace weightd
