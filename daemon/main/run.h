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
// The order of shutdown:
//   1. new work is refused and health says NOT_SERVING; watchers and lease holders are told
//   2. stage jobs are cancelled and their workers end; leases may go on for `drain_grace`; who asks
//      meanwhile (health, status, leases) is answered
//   3. no connection is accepted any more; a second later open calls and streams are cancelled; the
//      handle socket and the blocking calls end; state is saved
//   4. generations are freed; the sockets are removed
// Each step has its time, kDrainStepsTime for all of them after the leases'. One that hangs (a
// volume that does not answer, a client that does not read) is told in the log and left behind;
// then step 4 is left out, since the kernel does it, and the process ends here with status 0. Where
// even that does not work, StopGuard ends the process with status 1, drain_grace and kStopTime
// after the signal.
//
// Returns OK after a drain, or why the daemon could not start.
absl::Status Run(const Configuration& configuration, const Reloader::Load& load,
                 const RunDependencies& dependencies);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_RUN_H_
