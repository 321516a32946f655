#ifndef WEIGHTD_DAEMON_MAIN_RUN_H_
#define WEIGHTD_DAEMON_MAIN_RUN_H_

#include "absl/status/status.h"
#include "common/clock.h"
#include "daemon/config/daemon_options.h"
#include "daemon/main/logger.h"
#include "daemon/main/signals.h"

namespace weightd {

// What main() makes and tests could make otherwise.
struct RunDependencies {
  const Clock& clock;
  Logger& logger;
  Signals& signals;
};

// Wires the daemon together, serves until the first signal, and takes it apart again.
//
// The order of shutdown, each step before the next:
//   1. new work is refused and health says NOT_SERVING; watchers and lease holders are told
//   2. stage jobs are cancelled and their workers end
//   3. leases may go on for `drain_grace`; who asks meanwhile (health, status, leases) is answered
//   4. no connection is accepted any more; a second later open calls and streams are cancelled
//   5. the handle socket and the blocking calls end
//   6. generations are freed; the sockets are removed
// Returns OK after a drain, or why the daemon could not start.
absl::Status Run(const DaemonOptions& options, const RunDependencies& dependencies);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_RUN_H_
