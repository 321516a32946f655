#ifndef WEIGHTD_DAEMON_CONFIG_DAEMON_OPTIONS_H_
#define WEIGHTD_DAEMON_CONFIG_DAEMON_OPTIONS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/catalog_watcher.h"
#include "daemon/config/config.pb.h"
#include "daemon/device/device.h"
#include "daemon/lease/lease_table.h"
#include "daemon/residency/refresher.h"
#include "daemon/residency/residency.h"
#include "daemon/residency/wish_list.h"
#include "daemon/service/access_list.h"
#include "daemon/service/uid_limits.h"
#include "daemon/storage/volume_threads.h"

namespace weightd {

enum class CudaUse { kAuto, kOn, kOff };
enum class LogFormat { kText, kJson };
enum class LogLevel { kInfo, kWarning, kError };

// Requests that wait for a thread, of each kind (lists, evictions, ...).
struct RequestLimits {
  uint32_t waiting_max = 1024;         // 1..65536
  uint32_t waiting_per_uid_max = 256;  // 1..65536
  absl::Status Validate() const;
};

// The configuration as each folder's Options. What depends on the machine is still open: budgets
// and the default device, see main/devices.h.
struct DaemonOptions {
  std::vector<std::string> roots;
  std::string socket_dir;
  std::vector<std::string> preload;
  bool preload_pin = false;
  std::string default_device;
  absl::Duration drain_grace = absl::Seconds(5);
  LogFormat log_format = LogFormat::kText;
  LogLevel log_level = LogLevel::kInfo;

  AccessOptions access;
  CatalogOptions catalog;
  CatalogWatchOptions catalog_watch;
  VolumeThreadsOptions volume_threads;
  RefreshPolicy refresh = RefreshPolicy::kOnRequest;
  RetryOptions retries;
  ResidencyOptions residency;  // without budgets and default device
  LeaseOptions leases;
  RequestLimits requests;
  UidLimitOptions uid_limits;
  uint64_t tensor_tables_bytes_max = uint64_t{64} << 20;  // 0..2^40
  HostDeviceOptions host;
  bool slot_count_given = false;  // else it depends on the volumes: main

  std::string state_file;          // empty: nothing is kept
  std::string metrics_address;     // empty: nobody listens
  std::string node_features_file;  // empty: nobody is told

  std::optional<uint64_t> host_budget_bytes;
  uint64_t host_reserve_bytes = 0;
  CudaUse cuda = CudaUse::kAuto;
  std::optional<uint64_t> gpu_budget_bytes;
  uint64_t gpu_reserve_bytes = 0;
  std::map<std::string, uint64_t> gpu_budgets_bytes;  // by UUID
};

RefresherOptions MakeRefresherOptions(const DaemonOptions& options);

// INVALID_ARGUMENT with the setting's name, what it is and what is allowed.
absl::StatusOr<DaemonOptions> MakeDaemonOptions(const config::Config& config);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CONFIG_DAEMON_OPTIONS_H_
