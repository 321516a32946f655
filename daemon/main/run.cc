#include "daemon/main/run.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/durable_files.h"
#include "common/format_units.h"
#include "common/status_macros.h"
#include "daemon/main/reloader.h"
#include "daemon/main/watchdog.h"
#include "daemon/main/wiring.h"
#include "daemon/residency/node_features.h"
#include "daemon/residency/saved_state.h"

namespace weightd {
namespace {

// For the calls that are being answered when the last lease has ended.
constexpr absl::Duration kLastAnswersTime = absl::Seconds(1);
// What stopping takes besides the leases' time: jobs end, memory is given back.
constexpr absl::Duration kStoppingTime = absl::Seconds(30);
constexpr uint32_t kReadableByAll = 0644;

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
  std::vector<std::string> warnings = daemon.info.warnings;
  const auto add = [&](const std::vector<std::string>& more) {
    warnings.insert(warnings.end(), more.begin(), more.end());
  };
  add(daemon.residency->read_path().fallbacks);
  for (const auto& device : daemon.devices.devices) add(device->warnings());
  for (const std::string& warning : warnings) {
    logger.Log(LogLevel::kWarning, "degraded", {{"detail", warning}});
  }
}

// Pins matter to an operator; the order of uses may be some seconds old.
void KeepState(const DaemonOptions& options, Daemon& daemon, Logger& logger) {
  if (options.state_file.empty()) return;
  Residency& residency = *daemon.residency;
  daemon.state = std::make_unique<DeferredWriter>(
      [&residency, path = options.state_file] {
        return StoreSavedState(path,
                               {.pins = residency.pins(), .last_uses = residency.last_uses()});
      },
      [&logger](const absl::Status& status) {
        logger.Log(LogLevel::kWarning, "state_not_saved",
                   {{"detail", std::string(status.message())}});
      });
  const auto on_event = [state = daemon.state.get()](const Event& event) {
    state->Changed(event.type == EventType::kPinned || event.type == EventType::kUnpinned);
  };
  daemon.writer_watches.push_back(daemon.events->Watch(0, on_event));
}

// Whether what an attach finds may be otherwise after it: leases come and go much more often.
bool ChangesLabels(EventType type) {
  return type == EventType::kStageDone || type == EventType::kEvicted ||
         type == EventType::kSuperseded || type == EventType::kDamaged;
}

// Labels follow within a second; what the daemon before this one told is replaced at once.
void TellNodeFeatures(const DaemonOptions& options, const Clock& clock, Daemon& daemon,
                      Logger& logger) {
  if (options.node_features_file.empty()) return;
  Residency& residency = *daemon.residency;
  daemon.node_features = std::make_unique<DeferredWriter>(
      [&residency, &clock, path = options.node_features_file] {
        return StoreFile(path, FormatNodeFeatures(residency.List(), clock.Now()), kReadableByAll);
      },
      [&logger](const absl::Status& status) {
        logger.Log(LogLevel::kWarning, "node_features_not_told",
                   {{"detail", std::string(status.message())}});
      },
      absl::Seconds(1), kNodeFeaturesValid / 3);
  daemon.node_features->Changed(/*at_once=*/true);
  const auto on_event = [writer = daemon.node_features.get()](const Event& event) {
    if (ChangesLabels(event.type)) writer->Changed(/*at_once=*/false);
  };
  daemon.writer_watches.push_back(daemon.events->Watch(0, on_event));
}

void StopWriters(const DaemonOptions& options, Daemon& daemon) {
  for (const uint64_t watch : daemon.writer_watches) daemon.events->Unwatch(watch);
  daemon.state.reset();
  if (daemon.node_features == nullptr) return;
  daemon.node_features.reset();
  // With the daemon goes what it kept. Where that fails the next daemon says what is true.
  (void)::unlink(options.node_features_file.c_str());
}

// Pinned models are as wanted as those that the configuration names.
void StagePinned(Daemon& daemon, Logger& logger) {
  for (const Pin& pin : daemon.residency->pins()) {
    const auto ticket = daemon.residency->Stage(
        {.model = ToString(ModelRef{.model = pin.model, .revision = pin.asked_revision}),
         .devices = {pin.device},
         .pin = true,
         .detached = true,
         .priority = JobPriority::kPreload});
    if (ticket.ok()) continue;
    logger.Log(LogLevel::kError, "pin_refused",
               {{"model", pin.model}, {"detail", std::string(ticket.status().message())}});
  }
}

// A model that cannot be staged is an event and a line in the log, not the end of the daemon.
void Preload(const std::vector<std::string>& models, bool pin, Daemon& daemon, Logger& logger) {
  for (const std::string& model : models) {
    const absl::StatusOr<StageTicket> ticket = daemon.residency->Stage(
        {.model = model, .pin = pin, .detached = true, .priority = JobPriority::kPreload});
    if (ticket.ok()) continue;
    daemon.preloads->Refused(model, ticket.status());
    logger.Log(LogLevel::kError, "preload_refused",
               {{"model", model}, {"detail", std::string(ticket.status().message())}});
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
  (void)daemon.residency->Shutdown();
  // gRPC closes every connection as soon as it is told to shut down, and a connection that is not
  // accepted hangs: probes and operators would learn nothing of a drain that may take minutes.
  daemon.leases->WaitUntilEmpty(deadline);
  daemon.rpc->StopAccepting();
  // A client that does not answer gRPC's farewell would hold it up for long.
  daemon.rpc->Shutdown(std::min(deadline, dependencies.clock.Now() + kLastAnswersTime));
  daemon.handles->Stop();
  StopWriters(options, daemon);
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
  Preload(reloaded->new_preloads, reloader.options().preload_pin, daemon, dependencies.logger);
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
  KeepState(options, *daemon, dependencies.logger);
  TellNodeFeatures(options, dependencies.clock, *daemon, dependencies.logger);
  StagePinned(*daemon, dependencies.logger);
  Preload(options.preload, options.preload_pin, *daemon, dependencies.logger);
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
