#ifndef WEIGHTD_DAEMON_SERVICE_DAEMON_INFO_H_
#define WEIGHTD_DAEMON_SERVICE_DAEMON_INFO_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "daemon/catalog/catalog_watcher.h"
#include "daemon/catalog/root_check.h"

namespace weightd {

// What GetStatus and Diagnose say of the daemon as a whole.
struct DaemonInfo {
  std::string version;
  absl::Time start_time;
  std::vector<std::string> roots;
  std::string socket_dir;
  std::string engine_reason;  // why not io_uring; empty if it is
  std::string state_file;     // empty: nothing is kept
  std::vector<std::string> warnings;
  // How changes below the roots are noticed, now.
  std::function<std::vector<RootWatchInfo>()> root_watches;
  // For Diagnose: with `read`, also how fast they are.
  std::function<std::vector<RootFacts>(bool read)> check_roots;
  bool uses_cuda = true;  // the configuration lets it
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_DAEMON_INFO_H_
