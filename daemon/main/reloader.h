#ifndef WEIGHTD_DAEMON_MAIN_RELOADER_H_
#define WEIGHTD_DAEMON_MAIN_RELOADER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/config/configuration.h"
#include "daemon/lease/lease_table.h"
#include "daemon/main/logger.h"
#include "daemon/residency/refresher.h"
#include "daemon/residency/residency.h"
#include "daemon/service/access_list.h"
#include "daemon/service/uid_limits.h"

namespace weightd {

// What is told of new settings; all of it outlives the reloader.
struct ReloadTargets {
  AccessList& access;
  LeaseTable& leases;
  Logger& logger;
  Refresher& refresher;
  Residency& residency;
  UidLimits& uid_limits;
};

// Reads the configuration again and applies what may change while the daemon runs: the settings
// that config.proto marks with `reload`. All of it or nothing. Thread-compatible.
class Reloader {
 public:
  using Load = std::function<absl::StatusOr<Configuration>()>;

  Reloader(Configuration running, Load load, const ReloadTargets& targets)
      : running_(std::move(running)), load_(std::move(load)), to_(targets) {}

  struct Reloaded {
    std::vector<std::string> settings;      // paths of those that changed
    std::vector<std::string> new_preloads;  // models that were not named before
  };
  // Load's error, or FAILED_PRECONDITION with the settings that changed and may not.
  absl::StatusOr<Reloaded> Reload();

  // What holds now.
  const DaemonOptions& options() const { return running_.options; }

 private:
  Configuration running_;
  const Load load_;
  const ReloadTargets to_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_RELOADER_H_
