#ifndef WEIGHTD_DAEMON_SERVICE_PEER_REGISTRY_H_
#define WEIGHTD_DAEMON_SERVICE_PEER_REGISTRY_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/unique_fd.h"
#include "daemon/lease/peer.h"

namespace weightd {

// Leads from an RPC to who is at the other end of its connection.
//
// gRPC names a connection that it was given as "fd:N" (tried with gRPC 1.51) and closes N when the
// connection ends, after which the kernel would give N to the next one, while an RPC of the old
// connection may still be on its way to its handler: it would pass for the new peer. So each
// connection is moved to a number that was not used for as long as the range allows, thousands of
// connections.
//
// Thread-safe.
class PeerRegistry {
 public:
  // Numbers [first, last) are used; last is below RLIMIT_NOFILE.
  PeerRegistry(int first, int last) : first_(first), last_(last), next_(first) {}

  // A range in the upper half of what RLIMIT_NOFILE allows.
  static PeerRegistry ForThisProcess();

  // Moves the descriptor to a number of the range and remembers its peer. RESOURCE_EXHAUSTED when
  // none is free.
  absl::StatusOr<UniqueFd> Register(UniqueFd connection, const Peer& peer);

  // The peer of an RPC whose grpc::ServerContext::peer() is `name`, or nullopt for a name that is
  // not "fd:N" of a registered connection.
  std::optional<Peer> Find(absl::string_view name) const;

  PeerRegistry(PeerRegistry&& other) noexcept
      : first_(other.first_), last_(other.last_), next_(other.first_) {}

 private:
  const int first_;
  const int last_;
  mutable absl::Mutex mu_;
  int next_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<int, Peer> peers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_PEER_REGISTRY_H_
