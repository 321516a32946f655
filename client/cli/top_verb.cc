#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "client/cli/daemon.h"
#include "client/cli/json.h"
#include "client/cli/top_view.h"
#include "client/cli/verbs.h"
#include "client/cli/watch.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

struct TopArguments {
  bool once = false;
  WatchArguments watch;
};

absl::StatusOr<TopLook> Look(const GlobalOptions& options) {
  ASSIGN_OR_RETURN(const Daemon daemon, Daemon::Connect(options));
  TopLook look;
  ASSIGN_OR_RETURN(look.status,
                   daemon.Call(&v1::WeightCache::Stub::GetStatus, v1::GetStatusRequest()));
  v1::ListModelsRequest resident;
  resident.set_resident_only(true);
  ASSIGN_OR_RETURN(look.models, daemon.CallPaged(&v1::WeightCache::Stub::ListModels, resident));
  look.time = absl::Now();
  ASSIGN_OR_RETURN(look.leases,
                   daemon.CallPaged(&v1::WeightCache::Stub::ListLeases, v1::ListLeasesRequest()));
  return look;
}

absl::Status Show(const Invocation& invocation, TopView& view) {
  ASSIGN_OR_RETURN(const TopLook look, Look(invocation.options));
  if (invocation.json()) {
    invocation.io.out << JsonText(invocation, {{"status", ToJson(look.status)},
                                               {"models", ToJson(look.models)["models"]},
                                               {"leases", ToJson(look.leases)["leases"]}});
  } else {
    view.Show(look, invocation.io.color, invocation.io.out);
  }
  return absl::OkStatus();
}

}  // namespace

void AddTopVerb(CLI::App& app, Invocation& invocation) {
  const auto arguments = std::make_shared<TopArguments>();
  CLI::App* verb = AddVerb(app, invocation, "top", [&invocation, arguments] {
    TopView view;
    arguments->watch.watch = !arguments->once;
    return ShowOrWatch(invocation, arguments->watch,
                       [&view](const Invocation& look) { return Show(look, view); });
  });
  verb->add_flag("--once", arguments->once, "one look, and no more");
  AddInterval(verb, arguments->watch);
}

}  // namespace weightd::cli
