#ifndef WEIGHTD_DAEMON_SERVICE_PEER_CREDENTIALS_H_
#define WEIGHTD_DAEMON_SERVICE_PEER_CREDENTIALS_H_

#include "absl/status/statusor.h"
#include "daemon/lease/peer.h"

namespace weightd {

// The process that connected to `socket`, as the kernel recorded it at connect(2). Thread-safe.
absl::StatusOr<Peer> ReadPeer(int socket);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_PEER_CREDENTIALS_H_
