#include "daemon/main/wiring.h"

#include <sys/resource.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/executor.h"
#include "common/status_macros.h"
#include "common/thread_limits.h"
#include "daemon/main/version.h"
#include "daemon/service/metrics.h"

namespace weightd {
namespace {

constexpr uint32_t kEvictionThreads = 4;
constexpr uint32_t kVerifyThreads = 2;
// As many as attaches wait: those have limits of their own.
constexpr uint32_t kGrantThreads = 2;
constexpr uint32_t kGrantsWaitingMax = 1 << 20;
constexpr uint32_t kStateThreads = 1;
// Each waits for a root at most, and for a second.
constexpr uint32_t kLookupThreads = 2;
// So that one user's do not hold up another's; the looks at the roots are shared (RootChecker).
constexpr uint32_t kDiagnosisThreads = 2;
constexpr uint32_t kDiagnosesWaitingMax = 64;
constexpr uint32_t kDiagnosesWaitingPerUidMax = 8;
constexpr uint32_t kListThreads = 2;

absl::StatusOr<ServicePools> StartPools(const RequestLimits& limits) {
  const auto start = [&](const char* name, uint32_t threads) {
    return BlockingPool::Start({.name = name,
                                .threads = threads,
                                .waiting_max = limits.waiting_max,
                                .waiting_per_uid_max = limits.waiting_per_uid_max});
  };
  ServicePools pools;
  ASSIGN_OR_RETURN(pools.evictions, start("evictions", kEvictionThreads));
  ASSIGN_OR_RETURN(pools.forced_evictions, start("forced evictions", kEvictionThreads));
  ASSIGN_OR_RETURN(pools.states, start("states", kStateThreads));
  ASSIGN_OR_RETURN(pools.lists, start("lists", kListThreads));
  ASSIGN_OR_RETURN(pools.lookups, start("lookups", kLookupThreads));
  ASSIGN_OR_RETURN(pools.verifications, start("verifications", kVerifyThreads));
  ASSIGN_OR_RETURN(pools.grants, BlockingPool::Start({.name = "grants",
                                                      .threads = kGrantThreads,
                                                      .waiting_max = kGrantsWaitingMax,
                                                      .waiting_per_uid_max = kGrantsWaitingMax}));
  ASSIGN_OR_RETURN(pools.diagnoses,
                   BlockingPool::Start({.name = "diagnoses",
                                        .threads = kDiagnosisThreads,
                                        .waiting_max = kDiagnosesWaitingMax,
                                        .waiting_per_uid_max = kDiagnosesWaitingPerUidMax}));
  return pools;
}

// One that is not there, or does not answer, is looked up again at each scan, which tells it.
absl::StatusOr<std::vector<std::shared_ptr<Root>>> OpenRoots(const DaemonOptions& options) {
  const auto descriptors = DescriptorBudget::ForThisProcess();
  std::vector<std::shared_ptr<Root>> roots;
  for (const std::string& path : options.roots) {
    ASSIGN_OR_RETURN(std::shared_ptr<Root> root,
                     Root::Create(path, options.volume_threads, descriptors));
    (void)root->threads()->Call<Root::Refreshed>(
        "open the root", [root] { return root->Refresh(); }, {.silence = kRootPatience});
    roots.push_back(std::move(root));
  }
  return roots;
}

bool IsRemote(const Root& root) {
  const absl::StatusOr<std::shared_ptr<Volume>> volume = root.volume();
  return volume.ok() && IsRemote((*volume)->file_system());
}

void LogNotice(const WishNotice& notice, Logger& logger) {
  std::vector<LogField> fields = {{"model", notice.model}};
  switch (notice.kind) {
    case WishNotice::Kind::kRetry:
      fields.push_back({"retry", uint64_t{notice.retry}});
      fields.push_back(
          {"pause_ms", static_cast<uint64_t>(absl::ToInt64Milliseconds(notice.pause))});
      break;
    case WishNotice::Kind::kGivenUp:
    case WishNotice::Kind::kRefused:
      break;
  }
  fields.push_back({"reason", std::string(ReasonWord(notice.status))});
  fields.push_back({"detail", std::string(notice.status.message())});
  switch (notice.kind) {
    case WishNotice::Kind::kRetry:
      return logger.Log(LogLevel::kWarning, "stage_retry", fields);
    case WishNotice::Kind::kGivenUp:
      return logger.Log(LogLevel::kError, "stage_given_up", fields);
    case WishNotice::Kind::kRefused:
      return logger.Log(LogLevel::kError, "wish_refused", fields);
  }
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

DaemonInfo MakeInfo(const DaemonOptions& options, const RunDependencies& dependencies,
                    const Daemon& daemon) {
  DaemonInfo info;
  info.version = kVersion;
  info.start_time = dependencies.clock.Now();
  info.roots = options.roots;
  info.socket_dir = options.socket_dir;
  info.state_file = options.state_file;
  info.state = daemon.files->state();
  info.state_problem = daemon.state_problem;
  info.looks = [watcher = daemon.watcher.get()] { return watcher->looks(); };
  info.check_roots = [checker = std::make_shared<RootChecker>(daemon.roots, options.catalog),
                      watcher = daemon.watcher.get()](bool read) {
    return checker->Check([watcher](size_t root) { return watcher->last_scan(root); }, read);
  };
  info.uses_cuda = options.cuda != CudaUse::kOff;
  info.warnings = daemon.devices.warnings;
  for (const Warning& warning : daemon.sockets->warnings()) info.warnings.push_back(warning);
  if (options.residency.stager.read_queue.engine == ReadEngine::kAuto) {
    info.engine_reason = daemon.probe.reason;
    if (!daemon.probe.reason.empty()) {
      info.warnings.push_back({.reason = WarningReason::kNoIoUring, .text = daemon.probe.reason});
    }
  } else if (options.residency.stager.read_queue.engine == ReadEngine::kPread) {
    info.engine_reason = "storage.engine is PREAD";
  }
  return info;
}

// What is in memory, the files that tell of it, and what the daemon wants there.
absl::Status MakeResidency(const DaemonOptions& options, const RunDependencies& dependencies,
                           bool any_remote, Daemon& daemon) {
  LoadedState loaded = LoadState(
      options.state_file, absl::StrCat("pid ", ::getpid(), ", sockets in ", options.socket_dir));
  for (Warning& warning : loaded.warnings) daemon.devices.warnings.push_back(std::move(warning));
  daemon.state_problem = std::move(loaded.problem);
  if (!daemon.state_problem.empty() && loaded.warnings.empty()) {
    dependencies.logger.Log(LogLevel::kWarning, "state_not_saved",
                            {{"detail", daemon.state_problem}});
  }
  ASSIGN_OR_RETURN(daemon.residency,
                   Residency::Create(MakeResidencyOptions(options, daemon.devices, daemon.probe,
                                                          std::move(loaded.state), any_remote),
                                     *daemon.catalog, daemon.devices.devices, *daemon.events,
                                     dependencies.clock, ThreadExecutor::Get()));
  daemon.files = std::make_unique<KeptFiles>(options, dependencies.clock, *daemon.residency,
                                             *daemon.events, dependencies.logger);
  if (!options.state_file.empty() && daemon.state_problem.empty()) {
    RETURN_IF_ERROR(daemon.files->KeepState(std::move(loaded.lock)));
  }
  RETURN_IF_ERROR(daemon.files->TellNodeFeatures());
  daemon.wishes = std::make_unique<WishList>(
      options.retries, *daemon.residency, dependencies.clock,
      [&daemon, &logger = dependencies.logger](const WishNotice& notice) {
        LogNotice(notice, logger);
        if (notice.kind == WishNotice::Kind::kRefused && daemon.preloads != nullptr) {
          daemon.preloads->Refused(notice.model, notice.status);
        }
      });
  return daemon.wishes->Start();
}

absl::Status WatchCatalog(const DaemonOptions& options, const RunDependencies& dependencies,
                          Daemon& daemon) {
  Logger& logger = dependencies.logger;
  daemon.refresher = std::make_unique<Refresher>(MakeRefresherOptions(options), *daemon.residency,
                                                 *daemon.events, *daemon.wishes);
  daemon.preloads = std::make_unique<PreloadBoard>(
      *daemon.residency, *daemon.events, *daemon.wishes,
      [refresher = daemon.refresher.get()] { return refresher->preload(); });
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
  listener.on_reopened = [&logger](const std::string& root, const std::string& what) {
    logger.Log(LogLevel::kWarning, "root_reopened", {{"root", root}, {"detail", what}});
  };
  ASSIGN_OR_RETURN(daemon.watcher, CatalogWatcher::Start(options.catalog_watch, *daemon.catalog,
                                                         dependencies.clock, std::move(listener)));
  return absl::OkStatus();
}

uint64_t DescriptorsMax() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

// Who may connect, and how often.
void OpenGate(const DaemonOptions& options, const RunDependencies& dependencies, Daemon& daemon) {
  daemon.access = std::make_unique<AccessList>(options.access);
  daemon.uid_limits = std::make_unique<UidLimits>(options.uid_limits, DescriptorsMax());
  daemon.gate = std::make_unique<ConnectionGate>(
      *daemon.access, *daemon.uid_limits, dependencies.clock,
      [&logger = dependencies.logger](const ConnectionGate::Refused& refused) {
        logger.Log(LogLevel::kWarning, "connection_refused",
                   {{"uid", static_cast<uint64_t>(refused.peer.uid)},
                    {"pid", static_cast<uint64_t>(refused.peer.pid)},
                    {"detail", std::string(refused.status.message())},
                    {"refused_before", refused.unsaid}});
      });
  daemon.peers = std::make_unique<PeerRegistry>();
  daemon.calls = std::make_unique<CallGate>(*daemon.peers, *daemon.access, *daemon.uid_limits);
}

// Puts a socket back that somebody removed: without it a daemon that works looks like one that is
// gone. What cannot be put back is told once.
absl::Status WatchSockets(Logger& logger, Daemon& daemon) {
  const auto use = [&daemon](int rpc_listener, int handle_listener) {
    daemon.rpc->ListenOn(rpc_listener);
    daemon.handles->ListenOn(handle_listener);
  };
  const auto lost = std::make_shared<std::string>();  // what was told
  ASSIGN_OR_RETURN(
      daemon.socket_watch,
      SocketWatch::Start(daemon.sockets->path(), [&logger, &daemon, use, lost] {
        const absl::StatusOr<std::vector<std::string>> restored = daemon.sockets->Restore(use);
        const std::string problem(restored.status().message());
        if (!problem.empty() && problem != *lost) {
          logger.Log(LogLevel::kError, "socket_lost",
                     {{"reason", std::string(absl::StatusCodeToString(restored.status().code()))},
                      {"detail", problem}});
        }
        *lost = problem;
        if (!restored.ok()) return;
        for (const std::string& path : *restored) {
          logger.Log(LogLevel::kWarning, "socket_restored",
                     {{"path", path}, {"detail", std::string("somebody had removed it")}});
        }
      }));
  return absl::OkStatus();
}

// Libraries that get no thread end the process, or say something else: what they make at once, and
// gRPC makes for each processor when calls come, and with it what is ours from here on.
absl::Status CheckThreads() {
  constexpr int kProcessorsMax = 32;
  constexpr int kThreadsOfProcessor = 4;
  constexpr int kOtherThreads = 16;
  const int processors =
      std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kProcessorsMax);
  return CheckThreadsToSpare(kThreadsOfProcessor * processors + kOtherThreads, "gRPC");
}

// Where somebody wants them.
absl::Status StartMetrics(const DaemonOptions& options, const RunDependencies& dependencies,
                          Daemon& daemon) {
  if (options.metrics_address.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(daemon.metrics,
                   MetricsServer::Start(options.metrics_address,
                                        std::make_shared<Metrics>(MetricSources{
                                            .version = daemon.info.version,
                                            .start_time = daemon.info.start_time,
                                            .info = daemon.info,
                                            .residency = *daemon.residency,
                                            .leases = *daemon.leases,
                                            .events = *daemon.events,
                                            .access = *daemon.access,
                                            .uid_limits = *daemon.uid_limits,
                                            .tables = *daemon.tables,
                                            .refusals = *daemon.refusals,
                                            .looks = daemon.info.looks,
                                            .log_lines_dropped = [&logger = dependencies.logger] {
                                              return logger.dropped_lines();
                                            }})));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> WireDaemon(const DaemonOptions& options,
                                                   const RunDependencies& dependencies) {
  auto daemon = std::make_unique<Daemon>();
  ASSIGN_OR_RETURN(daemon->sockets,
                   SocketDir::Open(options.socket_dir, dependencies.service_manager.TakeSockets()));
  ASSIGN_OR_RETURN(daemon->roots, OpenRoots(options));
  ASSIGN_OR_RETURN(daemon->devices, OpenDevices(options));
  daemon->probe = ProbeReadEngine();
  const bool any_remote = std::any_of(daemon->roots.begin(), daemon->roots.end(),
                                      [](const auto& root) { return IsRemote(*root); });
  daemon->events = std::make_unique<EventLog>(
      dependencies.clock,
      [&logger = dependencies.logger](const Event& event) { logger.LogEvent(event); },
      EventLogLimits(),
      [&logger = dependencies.logger](uint64_t events) {
        logger.Log(LogLevel::kWarning, "events_dropped", {{"events", events}});
      });
  RETURN_IF_ERROR(daemon->events->Start());
  daemon->catalog = std::make_unique<Catalog>(daemon->roots, options.catalog);
  RETURN_IF_ERROR(MakeResidency(options, dependencies, any_remote, *daemon));
  RETURN_IF_ERROR(WatchCatalog(options, dependencies, *daemon));
  ASSIGN_OR_RETURN(daemon->reads,
                   ModelReads::Create({.per_uid_max = options.requests.waiting_per_uid_max},
                                      *daemon->catalog, *daemon->watcher, *daemon->residency));
  daemon->leases = std::make_unique<LeaseTable>(options.leases, *daemon->residency, *daemon->events,
                                                dependencies.clock);
  OpenGate(options, dependencies, *daemon);
  daemon->refusals = std::make_unique<RefusalCounts>();
  daemon->tables = std::make_unique<TensorBatchCache>(options.tensor_tables_bytes_max);
  daemon->info = MakeInfo(options, dependencies, *daemon);
  ASSIGN_OR_RETURN(daemon->pools, StartPools(options.requests));
  daemon->service =
      std::make_unique<WeightCacheService>(ServiceDependencies{.catalog = *daemon->catalog,
                                                               .reads = *daemon->reads,
                                                               .residency = *daemon->residency,
                                                               .leases = *daemon->leases,
                                                               .events = *daemon->events,
                                                               .calls = *daemon->calls,
                                                               .access = *daemon->access,
                                                               .peers = *daemon->peers,
                                                               .pools = daemon->pools,
                                                               .preloads = *daemon->preloads,
                                                               .refusals = *daemon->refusals,
                                                               .tables = *daemon->tables,
                                                               .uid_limits = *daemon->uid_limits,
                                                               .info = daemon->info});
  RETURN_IF_ERROR(CheckThreads());
  ASSIGN_OR_RETURN(daemon->rpc,
                   RpcServer::Start(daemon->sockets->rpc_listener(), {.gate = *daemon->gate,
                                                                      .peers = *daemon->peers,
                                                                      .closer = daemon->closer,
                                                                      .service = *daemon->service,
                                                                      .calls = *daemon->calls}));
  ASSIGN_OR_RETURN(daemon->handles,
                   HandleServer::Start(daemon->sockets->handle_listener(),
                                       {.gate = *daemon->gate,
                                        .closer = daemon->closer,
                                        .redeem = [leases = daemon->leases.get()](
                                                      absl::string_view ticket, const Peer& peer) {
                                          return leases->RedeemTicket(ticket, peer);
                                        }}));
  RETURN_IF_ERROR(WatchSockets(dependencies.logger, *daemon));
  RETURN_IF_ERROR(StartMetrics(options, dependencies, *daemon));
  return daemon;
}

}  // namespace weightd
