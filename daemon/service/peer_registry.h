#ifndef WEIGHTD_DAEMON_SERVICE_PEER_REGISTRY_H_
#define WEIGHTD_DAEMON_SERVICE_PEER_REGISTRY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "daemon/service/connection_gate.h"

namespace weightd {

// Leads from an RPC to who is at the other end of its connection, and keeps what the connection
// takes of its uid's limits until it is closed.
//
// gRPC names a connection that it was given as "fd:N". Guaranteed is that an RPC finds the peer of
// its own connection: each RPC holds its HTTP/2 stream, each stream its transport, and only the end
// of the transport closes N (gRPC 1.51; peer_registry_test.cc holds gRPC to it). So while an RPC
// can ask for N the kernel gives N to nobody else, and the entry of N is the one that was
// registered last. Each entry knows its socket by the kernel's cookie, which is never used twice:
// an N that is another file by now is not found.
//
// Nobody tells of a connection's end. Entries whose socket is gone are looked for before somebody
// is refused (Sweep), and whenever as many came as were there after the last look, so that there
// are never more than twice as many as connections, and a few.
//
// Thread-safe.
class PeerRegistry {
 public:
  PeerRegistry() = default;
  PeerRegistry(const PeerRegistry&) = delete;
  PeerRegistry& operator=(const PeerRegistry&) = delete;

  // Before gRPC gets `connection`, an open socket.
  absl::Status Register(int connection, ConnectionGate::Admitted admitted);

  // The peer of an RPC whose grpc::ServerContext::peer() is `name`, or nullopt for a name that is
  // not "fd:N" of a registered connection.
  std::optional<Peer> Find(absl::string_view name) const;
  // Whether the other end of that connection still is there.
  bool IsConnected(absl::string_view name) const;

  // Ends all connections, for a server that takes no more: what gRPC still wants to write to them
  // fails, also where the other end reads nothing.
  void Disconnect();

  // Forgets the connections that are closed. Does nothing within a few milliseconds of the last
  // time: who is refused at a limit may try again at once.
  void Sweep();

  size_t size() const;

 private:
  struct Entry {
    uint64_t cookie = 0;
    Peer peer;
    Share share;
  };

  const Entry* FindEntry(absl::string_view name) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void SweepNow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  absl::flat_hash_map<int, Entry> entries_ ABSL_GUARDED_BY(mu_);  // by N
  size_t sweep_size_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time sweep_time_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_PEER_REGISTRY_H_
