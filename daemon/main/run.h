#ifndef WEIGHTD_DAEMON_MAIN_RUN_H_
#define WEIGHTD_DAEMON_MAIN_RUN_H_

#include "absl/status/status.h"
#include "daemon/config/configuration.h"
#include "daemon/main/reloader.h"
#include "daemon/main/wiring.h"

namespace weightd {

// Wires the daemon together, serves until the first signal to stop, and takes it apart again.
// `load` reads the configuration anew for each SIGHUP.
//
// The order of shutdown, each step before the next:
//   1. new work is refused and health says NOT_SERVING; watchers and lease holders are told
//   2. stage jobs are cancelled and their workers end
//   3. leases may go on for `drain_grace`; who asks meanwhile (health, status, leases) is answered
//   4. no connection is accepted any more; a second later open calls and streams are cancelled
//   5. the handle socket and the blocking calls end
//   6. generations are freed; the sockets are removed
// Returns OK after a drain, or why the daemon could not start.
absl::Status Run(const Configuration& configuration, const Reloader::Load& load,
                 const RunDependencies& dependencies);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_RUN_H_
