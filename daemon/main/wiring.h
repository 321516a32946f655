#ifndef WEIGHTD_DAEMON_MAIN_WIRING_H_
#define WEIGHTD_DAEMON_MAIN_WIRING_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/detached_closer.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/catalog_watcher.h"
#include "daemon/config/daemon_options.h"
#include "daemon/lease/lease_table.h"
#include "daemon/main/devices.h"
#include "daemon/main/kept_files.h"
#include "daemon/main/logger.h"
#include "daemon/main/service_manager.h"
#include "daemon/main/signals.h"
#include "daemon/residency/refresher.h"
#include "daemon/residency/residency.h"
#include "daemon/residency/wish_list.h"
#include "daemon/service/access_list.h"
#include "daemon/service/blocking_pool.h"
#include "daemon/service/call_gate.h"
#include "daemon/service/connection_gate.h"
#include "daemon/service/daemon_info.h"
#include "daemon/service/handle_server.h"
#include "daemon/service/metrics_server.h"
#include "daemon/service/model_reads.h"
#include "daemon/service/peer_registry.h"
#include "daemon/service/preload_board.h"
#include "daemon/service/refusal_counts.h"
#include "daemon/service/rpc_server.h"
#include "daemon/service/socket_dir.h"
#include "daemon/service/socket_watch.h"
#include "daemon/service/uid_limits.h"
#include "daemon/service/weight_cache_service.h"
#include "daemon/storage/root.h"

// The daemon's parts and how they are put together. What they then do, and the order in which they
// are taken apart, is run.h's.

namespace weightd {

// What main() makes and tests could make otherwise.
struct RunDependencies {
  const Clock& clock;
  Logger& logger;
  Signals& signals;
  ServiceManager& service_manager;
};

// Everything that serves, in the order in which it is made; it goes in the reverse order.
struct Daemon {
  Daemon() = default;
  // Wishes ask what is made after them.
  ~Daemon() {
    if (wishes != nullptr) wishes->Stop();
  }

  std::unique_ptr<SocketDir> sockets;
  DeviceSet devices;
  EngineProbe probe;
  std::unique_ptr<EventLog> events;
  std::vector<std::shared_ptr<Root>> roots;
  std::unique_ptr<Catalog> catalog;
  std::unique_ptr<Residency> residency;
  std::unique_ptr<KeptFiles> files;
  std::string state_problem;  // why the state file is left alone
  std::unique_ptr<WishList> wishes;
  std::unique_ptr<Refresher> refresher;
  std::unique_ptr<PreloadBoard> preloads;
  std::unique_ptr<CatalogWatcher> watcher;
  std::unique_ptr<ModelReads> reads;
  std::unique_ptr<LeaseTable> leases;
  std::unique_ptr<AccessList> access;
  std::unique_ptr<UidLimits> uid_limits;
  std::unique_ptr<ConnectionGate> gate;
  std::unique_ptr<PeerRegistry> peers;
  std::unique_ptr<CallGate> calls;
  DetachedCloser closer;
  std::unique_ptr<RefusalCounts> refusals;
  std::unique_ptr<TensorBatchCache> tables;
  DaemonInfo info;
  ServicePools pools;
  std::unique_ptr<WeightCacheService> service;
  std::unique_ptr<RpcServer> rpc;
  std::unique_ptr<HandleServer> handles;
  std::unique_ptr<SocketWatch> socket_watch;
  std::unique_ptr<MetricsServer> metrics;  // where somebody wants them
};

// Makes all of it; its sockets answer, health says NOT_SERVING.
absl::StatusOr<std::unique_ptr<Daemon>> WireDaemon(const DaemonOptions& options,
                                                   const RunDependencies& dependencies);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_WIRING_H_
