#ifndef WEIGHTD_DAEMON_SERVICE_DAEMON_INFO_H_
#define WEIGHTD_DAEMON_SERVICE_DAEMON_INFO_H_

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace weightd {

// What GetStatus says that does not change while the daemon runs.
struct DaemonInfo {
  std::string version;
  absl::Time start_time;
  std::vector<std::string> roots;
  std::string socket_dir;
  std::string engine_reason;  // why not io_uring; empty if it is
  std::vector<std::string> warnings;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_DAEMON_INFO_H_
