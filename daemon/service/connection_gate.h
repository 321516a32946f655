#ifndef WEIGHTD_DAEMON_SERVICE_CONNECTION_GATE_H_
#define WEIGHTD_DAEMON_SERVICE_CONNECTION_GATE_H_

#include <array>
#include <cstdint>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/detached_closer.h"
#include "daemon/lease/peer.h"
#include "daemon/service/access_list.h"
#include "daemon/service/uid_limits.h"

namespace weightd {

// RESOURCE_EXHAUSTED/LIMIT_EXCEEDED for a uid that has sent descriptors whose close(2) does not
// come back, and has as many of them as one may: nothing more is taken from it.
absl::Status CheckDescriptorsOf(uint32_t uid, const DetachedCloser& closer);

// Decides on each new connection by what the kernel says of its peer, before a byte of it is read:
// the allow-list, then the limits of its uid.
//
// A connection that gRPC has not got yet cannot be told why it is closed. So who runs the daemon
// is: of each socket at once, and then at most every 10 s, with how many were refused meanwhile.
//
// Thread-safe.
class ConnectionGate {
 public:
  struct Admitted {
    Peer peer;
    Share share;  // for as long as the connection is there
    // None of either yet: see RelayedConnection.
    Share streams;
    Share unfinished;
  };
  struct Refused {
    Cost cost = Cost::kConnections;
    Peer peer;
    absl::Status status;
    uint64_t unsaid = 0;  // refusals since the last one that was told
  };
  using OnRefused = std::function<void(const Refused&)>;

  // Everything must outlive it. `on_refused` is called for limits, not for who is on no list:
  // AccessList counts these.
  ConnectionGate(const AccessList& access, UidLimits& limits, const Clock& clock,
                 OnRefused on_refused);

  // PERMISSION_DENIED, or RESOURCE_EXHAUSTED/LIMIT_EXCEEDED. `cost` is kConnections or
  // kHandleConnections. Before it refuses for a limit it calls `make_room`, if not empty, which may
  // end shares of connections that are gone.
  absl::StatusOr<Admitted> Admit(Peer peer, Cost cost,
                                 const std::function<void()>& make_room = nullptr);

  // Tells who runs the daemon, as of a connection that is refused, of one that is ended.
  void TellOfEnd(const Peer& peer, const absl::Status& status);

  // Whether Admit() would take a connection of `peer` to weightd.sock now.
  absl::Status CheckRpc(const Peer& peer) const;

 private:
  struct Told {
    absl::Time time = absl::InfinitePast();
    uint64_t unsaid = 0;
  };
  UidLimits::Taker TakerOf(const Peer& peer) const;
  void Tell(Cost cost, const Peer& peer, const absl::Status& status);

  const AccessList& access_;
  UidLimits& limits_;
  const Clock& clock_;
  const OnRefused on_refused_;
  absl::Mutex mu_;
  std::array<Told, kCostCount> told_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_CONNECTION_GATE_H_
