#ifndef WEIGHTD_DAEMON_SERVICE_PEER_CREDENTIALS_H_
#define WEIGHTD_DAEMON_SERVICE_PEER_CREDENTIALS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "daemon/lease/peer.h"

namespace weightd {

// Of a peer that cannot be read: the kernel's for whom it has no name (user_namespaces(7)).
inline constexpr uint32_t kUnknownUid = 65534;

// The process that connected to `socket`, as the kernel recorded it at connect(2). Thread-safe.
absl::StatusOr<Peer> ReadPeer(int socket);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_PEER_CREDENTIALS_H_
