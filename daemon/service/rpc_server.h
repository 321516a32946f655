#ifndef WEIGHTD_DAEMON_SERVICE_RPC_SERVER_H_
#define WEIGHTD_DAEMON_SERVICE_RPC_SERVER_H_

#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/detached_closer.h"
#include "daemon/service/connection_acceptor.h"
#include "daemon/service/connection_gate.h"
#include "daemon/service/connection_relay.h"
#include "daemon/service/peer_registry.h"
#include "daemon/service/reflection_service.h"
#include "daemon/service/self_probe.h"
#include "daemon/service/weight_cache_service.h"

namespace weightd {

// The gRPC server: WeightCache, grpc.health.v1 and reflection on connections that were accepted
// here, from peers that the gate admits, and whose uids take turns (ConnectionRelay). It listens on
// nothing itself.
//
// Clients may send keepalive pings as often as they like: the open stream is a lease, and whatever
// a client does to learn that it is there must not end it.
//
// Thread-compatible.
class RpcServer {
 public:
  // Serves from the start, and says NOT_SERVING on health until SetServing(true).
  // Everything must outlive it.
  struct Dependencies {
    ConnectionGate& gate;
    PeerRegistry& peers;
    DetachedCloser& closer;
    WeightCacheService& service;
    const CallGate& calls;
  };
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(int listener, const Dependencies& with);
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;
  ~RpcServer();

  // Of "" and "weightd.v1.WeightCache".
  void SetServing(bool serving);

  // Whether it still answers, see ProbeServer().
  absl::Status Probe(absl::Duration timeout) { return ProbeServer(*server_, timeout); }

  // Takes connections from `listener` instead, once it returns. Not after StopAccepting().
  void ListenOn(int listener) { acceptor_->ListenOn(listener); }
  // Takes no further connection, and ends those that have said nothing yet; calls go on.
  void StopAccepting();
  // Lets calls go on until `deadline`, then cancels them, and ends the connections of those who do
  // not even take that soon; returns when all are done.
  void Shutdown(absl::Time deadline);

 private:
  explicit RpcServer(const Dependencies& with);
  void OnConnection(UniqueFd connection);
  void OnBegin(UniqueFd connection, ConnectionGate::Admitted admitted);

  const Dependencies with_;
  ReflectionService reflection_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ConnectionRelay> relay_;        // its thread uses server_
  std::unique_ptr<ConnectionAcceptor> acceptor_;  // its thread uses relay_
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_RPC_SERVER_H_
