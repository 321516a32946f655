#include "daemon/main/run.h"

#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/format_units.h"
#include "common/status_macros.h"
#include "daemon/main/reloader.h"
#include "daemon/main/watchdog.h"
#include "daemon/main/wiring.h"

namespace weightd {
namespace {

// For the calls that are being answered when the last lease has ended.
constexpr absl::Duration kLastAnswersTime = absl::Seconds(1);
// What stopping takes besides the leases' time: jobs end, memory is given back.
constexpr absl::Duration kStoppingTime = absl::Seconds(30);

// Every connection is a descriptor: take what the hard limit gives.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  // Without it the soft limit stays, and connections beyond it are refused.
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

void LogStart(const DaemonOptions& options, const Daemon& daemon, Logger& logger) {
  std::vector<LogField> fields = {
      {"version", daemon.info.version},
      {"socket_dir", options.socket_dir},
      {"engine", std::string(ReadEngineName(daemon.residency->read_path().engine))},
      {"default_device", daemon.residency->default_device()}};
  for (const DeviceBudget& budget : daemon.devices.budgets) {
    fields.push_back({absl::StrCat("budget_bytes_", budget.device), budget.bytes});
  }
  if (daemon.metrics != nullptr) {
    fields.push_back({"metrics_port", static_cast<uint64_t>(daemon.metrics->port())});
  }
  logger.Log(LogLevel::kInfo, "serving", fields);
  Warnings warnings = daemon.info.warnings;
  const auto add = [&](const Warnings& more) {
    warnings.insert(warnings.end(), more.begin(), more.end());
  };
  add(daemon.residency->read_path().fallbacks);
  for (const auto& device : daemon.devices.devices) add(device->warnings());
  for (const Warning& warning : warnings) {
    logger.Log(LogLevel::kWarning, "degraded",
               {{"reason", std::string(WarningWord(warning.reason))}, {"detail", warning.text}});
  }
}

// Pinned models are as wanted as those that the configuration names.
void StagePinned(Daemon& daemon) {
  for (const Pin& pin : daemon.residency->pins()) {
    daemon.wishes->Add({.request = {.model = ToString(ModelRef{.model = pin.model,
                                                               .revision = pin.asked_revision}),
                                    .devices = {pin.device},
                                    .pin = true,
                                    .priority = JobPriority::kPreload},
                        .wanted = [&residency = *daemon.residency, pin] {
                          const std::vector<Pin> pins = residency.pins();
                          return std::find(pins.begin(), pins.end(), pin) != pins.end();
                        }});
  }
}

// A model that cannot be staged is an event and a line in the log, not the end of the daemon.
void Preload(const std::vector<std::string>& models, bool pin, Daemon& daemon) {
  for (const std::string& model : models) {
    daemon.wishes->Add({.request = {.model = model, .pin = pin, .priority = JobPriority::kPreload},
                        .wanted = [&refresher = *daemon.refresher, model] {
                          return refresher.IsPreloaded(model);
                        }});
  }
}

void Drain(const DaemonOptions& options, const RunDependencies& dependencies, Daemon& daemon) {
  dependencies.service_manager.Stopping(options.drain_grace + kStoppingTime);
  const absl::Time deadline = dependencies.clock.Now() + options.drain_grace;
  daemon.watcher->Stop();
  daemon.service->StartDraining();
  daemon.rpc->SetServing(false);
  Event event;
  event.type = EventType::kDrainStarted;
  event.detail = absl::StrCat("leases=", daemon.leases->count());
  daemon.events->Publish(std::move(event));
  daemon.leases->NotifyDraining(deadline);
  daemon.wishes->Stop();
  (void)daemon.residency->Shutdown();
  // gRPC closes every connection as soon as it is told to shut down, and a connection that is not
  // accepted hangs: probes and operators would learn nothing of a drain that may take minutes.
  daemon.leases->WaitUntilEmpty(deadline);
  daemon.rpc->StopAccepting();
  // A client that does not answer gRPC's farewell would hold it up for long.
  daemon.rpc->Shutdown(std::min(deadline, dependencies.clock.Now() + kLastAnswersTime));
  daemon.handles->Stop();
  daemon.files->Stop();
  daemon.state_pool.reset();
  daemon.diagnosis_pool.reset();
  daemon.verify_pool.reset();
  daemon.eviction_pool.reset();
  daemon.unary_pool.reset();
}

// One line on how the daemon is. Takes the locks that all work takes.
std::string StateLine(const Daemon& daemon) {
  uint64_t used_bytes = 0;
  for (const DeviceUsage& usage : daemon.residency->Usage()) used_bytes += usage.used_bytes;
  const Residency::JobCounts jobs = daemon.residency->job_counts();
  return absl::StrCat("serving: ", FormatBytes(used_bytes), " of weights, ", daemon.leases->count(),
                      " leases, ", jobs.running, " stages running, ", jobs.queued, " queued");
}

absl::StatusOr<std::string> Probe(Daemon& daemon, absl::Duration timeout) {
  const absl::Status answered = daemon.rpc->Probe(timeout);
  // Whatever else it is, it is an answer.
  if (absl::IsDeadlineExceeded(answered)) return answered;
  return StateLine(daemon);
}

void Reload(Reloader& reloader, const RunDependencies& dependencies, Daemon& daemon) {
  dependencies.service_manager.Reloading();
  const absl::StatusOr<Reloader::Reloaded> reloaded = reloader.Reload();
  if (!reloaded.ok()) {
    const std::string detail(reloaded.status().message());
    dependencies.logger.Log(LogLevel::kError, "reload_refused", {{"detail", detail}});
    dependencies.service_manager.Ready(absl::StrCat("serving; reload refused: ", detail));
    return;
  }
  dependencies.logger.Log(LogLevel::kInfo, "reloaded",
                          {{"settings", absl::StrJoin(reloaded->settings, ",")}});
  Preload(reloaded->new_preloads, reloader.options().preload_pin, daemon);
  dependencies.service_manager.Ready(StateLine(daemon));
}

}  // namespace

absl::Status Run(const Configuration& configuration, const Reloader::Load& load,
                 const RunDependencies& dependencies) {
  RaiseDescriptorLimit();
  const DaemonOptions& options = configuration.options;
  ASSIGN_OR_RETURN(const std::unique_ptr<Daemon> daemon, WireDaemon(options, dependencies));
  daemon->rpc->SetServing(true);
  LogStart(options, *daemon, dependencies.logger);
  StagePinned(*daemon);
  Preload(options.preload, options.preload_pin, *daemon);
  dependencies.service_manager.Ready(StateLine(*daemon));
  Reloader reloader(configuration, load,
                    {.access = *daemon->access,
                     .leases = *daemon->leases,
                     .logger = dependencies.logger,
                     .refresher = *daemon->refresher,
                     .residency = *daemon->residency});
  const Watchdog watchdog(
      dependencies.service_manager,
      [&] { return Probe(*daemon, dependencies.service_manager.watchdog() / 4); },
      [&](const absl::Status& status) {
        dependencies.logger.Log(LogLevel::kError, "no_answer",
                                {{"detail", std::string(status.message())}});
      });
  while (dependencies.signals.Wait() == Signals::Request::kReload) {
    Reload(reloader, dependencies, *daemon);
  }
  Drain(reloader.options(), dependencies, *daemon);
  return absl::OkStatus();
}

}  // namespace weightd
