#include "daemon/main/run.h"

#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/catalog/catalog.h"
#include "daemon/lease/lease_table.h"
#include "daemon/main/devices.h"
#include "daemon/main/version.h"
#include "daemon/residency/refresher.h"
#include "daemon/residency/residency.h"
#include "daemon/residency/saved_state.h"
#include "daemon/residency/state_keeper.h"
#include "daemon/service/handle_server.h"
#include "daemon/service/metrics.h"
#include "daemon/service/metrics_server.h"
#include "daemon/service/rpc_server.h"
#include "daemon/service/socket_dir.h"
#include "daemon/service/weight_cache_service.h"
#include "daemon/storage/volume.h"

namespace weightd {
namespace {

constexpr uint32_t kUnaryThreads = 4;
constexpr uint32_t kVerifyThreads = 1;
constexpr uint32_t kWaitingMax = 1024;
// For the calls that are being answered when the last lease has ended.
constexpr absl::Duration kLastAnswersTime = absl::Seconds(1);
// Every connection is a descriptor: take what the hard limit gives.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  // Without it the soft limit stays, and connections beyond it are refused.
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

absl::StatusOr<std::vector<std::shared_ptr<Volume>>> OpenRoots(
    const std::vector<std::string>& roots) {
  std::vector<std::shared_ptr<Volume>> volumes;
  for (const std::string& root : roots) {
    absl::StatusOr<std::unique_ptr<Volume>> volume = OpenVolume(root);
    if (!volume.ok()) return Annotate(volume.status(), absl::StrCat("root ", root));
    volumes.push_back(*std::move(volume));
  }
  return volumes;
}

// What is lost is an operator's wish: said, and no reason not to start.
SavedState LoadState(const DaemonOptions& options, std::vector<std::string>& warnings) {
  if (options.state_file.empty()) return {};
  absl::StatusOr<SavedState> state = LoadSavedState(options.state_file);
  if (state.ok()) return *std::move(state);
  warnings.push_back(absl::StrCat("pins and last uses are lost: ", state.status().message(),
                                  "; it is written anew when they change"));
  return {};
}

ResidencyOptions MakeResidencyOptions(const DaemonOptions& options, const DeviceSet& set,
                                      const EngineProbe& probe, SavedState state, bool any_remote) {
  ResidencyOptions residency = options.residency;
  residency.pins = std::move(state.pins);
  residency.last_uses = std::move(state.last_uses);
  residency.table.budgets = set.budgets;
  residency.default_device = set.default_device;
  if (!options.slot_count_given) {
    residency.stager.slot_count = DefaultSlotCount(residency.stager.block_bytes, any_remote);
  }
  if (residency.stager.read_queue.engine == ReadEngine::kAuto) {
    residency.stager.read_queue.engine = probe.engine;
  }
  return residency;
}

// Everything that serves, in the order in which it is made; it goes in the reverse order.
struct Daemon {
  std::unique_ptr<SocketDir> sockets;
  DeviceSet devices;
  EngineProbe probe;
  std::unique_ptr<EventLog> events;
  std::vector<std::shared_ptr<Volume>> volumes;
  std::unique_ptr<Catalog> catalog;
  std::unique_ptr<Residency> residency;
  std::unique_ptr<StateKeeper> state;
  uint64_t state_watch = 0;
  std::unique_ptr<Refresher> refresher;
  std::unique_ptr<CatalogWatcher> watcher;
  std::unique_ptr<LeaseTable> leases;
  std::unique_ptr<PeerRegistry> peers;
  DaemonInfo info;
  std::unique_ptr<BlockingPool> unary_pool;
  std::unique_ptr<BlockingPool> eviction_pool;
  std::unique_ptr<BlockingPool> verify_pool;
  std::unique_ptr<WeightCacheService> service;
  std::unique_ptr<RpcServer> rpc;
  std::unique_ptr<HandleServer> handles;
  std::unique_ptr<MetricsServer> metrics;  // where somebody wants them
};

DaemonInfo MakeInfo(const DaemonOptions& options, const RunDependencies& dependencies,
                    const Daemon& daemon) {
  DaemonInfo info;
  info.version = kVersion;
  info.start_time = dependencies.clock.Now();
  info.roots = options.roots;
  info.socket_dir = options.socket_dir;
  info.state_file = options.state_file;
  info.root_watches = [watcher = daemon.watcher.get()] { return watcher->roots(); };
  info.warnings = daemon.devices.warnings;
  for (const std::string& warning : daemon.sockets->warnings()) info.warnings.push_back(warning);
  if (options.residency.stager.read_queue.engine == ReadEngine::kAuto) {
    info.engine_reason = daemon.probe.reason;
    if (!daemon.probe.reason.empty()) info.warnings.push_back(daemon.probe.reason);
  } else if (options.residency.stager.read_queue.engine == ReadEngine::kPread) {
    info.engine_reason = "storage.engine is PREAD";
  }
  return info;
}

absl::Status WatchCatalog(const DaemonOptions& options, Logger& logger, Daemon& daemon) {
  daemon.refresher = std::make_unique<Refresher>(
      RefresherOptions{.policy = options.refresh,
                       .preload = options.preload,
                       .preload_pin = options.preload_pin},
      *daemon.residency, *daemon.events,
      [&logger](const std::string& model, const absl::Status& status) {
        logger.Log(LogLevel::kWarning, "refresh_refused",
                   {{"model", model}, {"detail", std::string(status.message())}});
      });
  CatalogWatcher::Listener listener;
  listener.on_first_look =
      [refresher = daemon.refresher.get()](const std::vector<Checkpoint>& checkpoints) {
        refresher->OnFirstLook(checkpoints);
      };
  listener.on_changes = [refresher =
                             daemon.refresher.get()](const std::vector<CatalogChange>& changes) {
    refresher->OnChanges(changes);
  };
  listener.on_failure = [&logger](const absl::Status& status) {
    logger.Log(LogLevel::kWarning, "catalog_unreadable",
               {{"detail", std::string(status.message())}});
  };
  ASSIGN_OR_RETURN(daemon.watcher,
                   CatalogWatcher::Start(options.catalog_watch, *daemon.catalog, daemon.volumes,
                                         options.catalog.depth_max, std::move(listener)));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Daemon>> Start(const DaemonOptions& options,
                                              const RunDependencies& dependencies) {
  auto daemon = std::make_unique<Daemon>();
  ASSIGN_OR_RETURN(daemon->sockets, SocketDir::Open(options.socket_dir));
  ASSIGN_OR_RETURN(daemon->volumes, OpenRoots(options.roots));
  ASSIGN_OR_RETURN(daemon->devices, OpenDevices(options));
  daemon->probe = ProbeReadEngine();
  const bool any_remote = std::any_of(
      daemon->volumes.begin(), daemon->volumes.end(),
      [](const auto& volume) { return volume->file_system() != FileSystemKind::kLocal; });
  daemon->events = std::make_unique<EventLog>(
      dependencies.clock,
      [&logger = dependencies.logger](const Event& event) { logger.LogEvent(event); });
  daemon->catalog = std::make_unique<Catalog>(daemon->volumes, options.catalog);
  ASSIGN_OR_RETURN(
      daemon->residency,
      Residency::Create(
          MakeResidencyOptions(options, daemon->devices, daemon->probe,
                               LoadState(options, daemon->devices.warnings), any_remote),
          *daemon->catalog, daemon->devices.devices, *daemon->events, dependencies.clock));
  RETURN_IF_ERROR(WatchCatalog(options, dependencies.logger, *daemon));
  daemon->leases = std::make_unique<LeaseTable>(options.leases, *daemon->residency, *daemon->events,
                                                dependencies.clock);
  daemon->peers = std::make_unique<PeerRegistry>(PeerRegistry::ForThisProcess());
  daemon->info = MakeInfo(options, dependencies, *daemon);
  daemon->unary_pool = std::make_unique<BlockingPool>(kUnaryThreads, kWaitingMax);
  daemon->eviction_pool = std::make_unique<BlockingPool>(kUnaryThreads, kWaitingMax);
  daemon->verify_pool = std::make_unique<BlockingPool>(kVerifyThreads, kWaitingMax);
  daemon->service = std::make_unique<WeightCacheService>(
      ServiceDependencies{.catalog = *daemon->catalog,
                          .residency = *daemon->residency,
                          .leases = *daemon->leases,
                          .events = *daemon->events,
                          .access = options.access,
                          .peers = *daemon->peers,
                          .pool = *daemon->unary_pool,
                          .eviction_pool = *daemon->eviction_pool,
                          .verify_pool = *daemon->verify_pool,
                          .info = daemon->info,
                          .drain_grace = options.drain_grace});
  ASSIGN_OR_RETURN(daemon->rpc, RpcServer::Start(daemon->sockets->rpc_listener(), options.access,
                                                 *daemon->peers, *daemon->service));
  daemon->handles = std::make_unique<HandleServer>(daemon->sockets->handle_listener(),
                                                   options.access, *daemon->leases);
  if (!options.metrics_address.empty()) {
    ASSIGN_OR_RETURN(daemon->metrics, MetricsServer::Start(options.metrics_address,
                                                           std::make_shared<Metrics>(
                                                               kVersion, *daemon->residency,
                                                               *daemon->leases, *daemon->events)));
  }
  return daemon;
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
  daemon.state = std::make_unique<StateKeeper>(
      options.state_file,
      [&residency] {
        return SavedState{.pins = residency.pins(), .last_uses = residency.last_uses()};
      },
      [&logger](const absl::Status& status) {
        logger.Log(LogLevel::kWarning, "state_not_saved",
                   {{"detail", std::string(status.message())}});
      });
  daemon.state_watch = daemon.events->Watch(0, [state = daemon.state.get()](const Event& event) {
    const bool is_pin = event.type == EventType::kPinned || event.type == EventType::kUnpinned;
    state->Changed(is_pin);
  });
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
void Preload(const DaemonOptions& options, Daemon& daemon, Logger& logger) {
  for (const std::string& model : options.preload) {
    const absl::StatusOr<StageTicket> ticket =
        daemon.residency->Stage({.model = model,
                                 .pin = options.preload_pin,
                                 .detached = true,
                                 .priority = JobPriority::kPreload});
    if (ticket.ok()) continue;
    logger.Log(LogLevel::kError, "preload_refused",
               {{"model", model}, {"detail", std::string(ticket.status().message())}});
  }
}

void Drain(const DaemonOptions& options, const RunDependencies& dependencies, Daemon& daemon) {
  const absl::Time deadline = dependencies.clock.Now() + options.drain_grace;
  daemon.watcher->Stop();
  daemon.service->StartDraining();
  daemon.rpc->SetServing(false);
  Event event;
  event.type = EventType::kDrainStarted;
  event.detail = absl::StrCat("leases=", daemon.leases->count());
  daemon.events->Publish(std::move(event));
  daemon.leases->NotifyDraining();
  daemon.residency->Shutdown();
  // gRPC closes every connection as soon as it is told to shut down, and a connection that is not
  // accepted hangs: probes and operators would learn nothing of a drain that may take minutes.
  daemon.leases->WaitUntilEmpty(deadline);
  daemon.rpc->StopAccepting();
  // A client that does not answer gRPC's farewell would hold it up for long.
  daemon.rpc->Shutdown(std::min(deadline, dependencies.clock.Now() + kLastAnswersTime));
  daemon.handles->Stop();
  if (daemon.state != nullptr) daemon.events->Unwatch(daemon.state_watch);
  daemon.state.reset();
  daemon.verify_pool.reset();
  daemon.eviction_pool.reset();
  daemon.unary_pool.reset();
}

}  // namespace

absl::Status Run(const DaemonOptions& options, const RunDependencies& dependencies) {
  RaiseDescriptorLimit();
  ASSIGN_OR_RETURN(const std::unique_ptr<Daemon> daemon, Start(options, dependencies));
  daemon->rpc->SetServing(true);
  LogStart(options, *daemon, dependencies.logger);
  KeepState(options, *daemon, dependencies.logger);
  StagePinned(*daemon, dependencies.logger);
  Preload(options, *daemon, dependencies.logger);
  dependencies.signals.WaitForStop();
  Drain(options, dependencies, *daemon);
  return absl::OkStatus();
}

}  // namespace weightd
