#ifndef WEIGHTD_DAEMON_SERVICE_SELF_PROBE_H_
#define WEIGHTD_DAEMON_SERVICE_SELF_PROBE_H_

#include <grpcpp/server.h>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace weightd {

// Asks the server for its health over a connection of its own, a socket pair: whether gRPC still
// answers. Not over the listening socket, whose queue clients can fill, as they can use up the
// descriptors: that is no reason to take the daemon for dead, and RESOURCE_EXHAUSTED here. Whether
// the answer is SERVING does not matter: a daemon that drains works.
//
// DEADLINE_EXCEEDED when nothing answers. Thread-safe.
absl::Status ProbeServer(grpc::Server& server, absl::Duration timeout);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_SELF_PROBE_H_
