#ifndef WEIGHTD_DAEMON_SERVICE_CONNECTION_RELAY_H_
#define WEIGHTD_DAEMON_SERVICE_CONNECTION_RELAY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/detached_closer.h"
#include "common/thread.h"
#include "common/unique_fd.h"
#include "daemon/service/connection_gate.h"
#include "daemon/service/fair_queue.h"
#include "daemon/service/relayed_connection.h"

namespace weightd {

// Stands between the clients' connections and gRPC, so that users take turns before their calls
// cost anything: gRPC reads whatever is there, in the order in which it came, and 100,000 short
// calls of one user would hold up everybody's for seconds.
//
// One thread moves all bytes, a small part of each connection at a time (RelayedConnection), one
// connection of each uid after the other. Of one uid only a few connections have something that
// gRPC has not read yet; its others wait. A connection becomes gRPC's when its client has said
// something.
//
// A connection that gRPC does not read for a while counts no longer among these few: it holds up
// itself alone.
//
// Thread-safe.
class ConnectionRelay {
 public:
  struct Options {
    // Gives gRPC its end of a connection; called by the relay's thread, for which all wait.
    std::function<void(UniqueFd, ConnectionGate::Admitted)> on_begin;
    // Told why a client's connection was ended; likewise.
    std::function<void(const Peer&, const absl::Status&)> on_refused;
    DetachedCloser& closer;  // of connections in whose queues clients may leave descriptors
    // Connections with something unread; at least 1.
    size_t unread_per_uid_max = 4;
    // How long a connection counts among them; gRPC reads within microseconds, when it can.
    absl::Duration unread_time = absl::Milliseconds(100);
    // For a client to take what gRPC wrote before it closed, beyond what the kernel holds for it.
    absl::Duration linger_time = absl::Seconds(1);
  };

  // RESOURCE_EXHAUSTED when the system gives no descriptor or no thread.
  static absl::StatusOr<std::unique_ptr<ConnectionRelay>> Start(Options options);
  ConnectionRelay(const ConnectionRelay&) = delete;
  ConnectionRelay& operator=(const ConnectionRelay&) = delete;
  // Closes all connections.
  ~ConnectionRelay();

  // Takes a connected, non-blocking socket. Never waits.
  void Add(UniqueFd connection, ConnectionGate::Admitted admitted);

  // Closes the connections that have said nothing yet, and those to come; no call of `on_begin`
  // runs or will run once it returns.
  void StopBeginning();

  // Waits until gRPC has closed all its connections and the clients have what it wrote before;
  // false when the time is over before.
  bool AwaitEnd(absl::Duration timeout);

 private:
  struct Connection {
    Connection(UniqueFd client, ConnectionGate::Admitted who)
        : relayed(std::move(client), std::move(who.streams), std::move(who.unfinished)),
          peer(who.peer),
          admitted(std::move(who)) {}

    RelayedConnection relayed;
    const Peer peer;
    ConnectionGate::Admitted admitted;  // until it becomes gRPC's
    bool queued = false;                // in turns_
    bool held = false;                  // in its user's
    bool counted = false;               // in its user's unread
    absl::Time unread_since;
    absl::Time lingers_until = absl::InfiniteFuture();
    absl::Time next_look = absl::InfiniteFuture();  // the one of those in looks_ that counts
  };
  struct User {
    size_t unread = 0;
    std::deque<uint64_t> held;  // connections whose requests wait until something is read
  };

  ConnectionRelay(Options options, UniqueFd epoll, UniqueFd wake_event)
      : options_(std::move(options)),
        epoll_(std::move(epoll)),
        wake_event_(std::move(wake_event)) {}

  void Run();
  void WaitForEvents();
  void OnEvents(uint64_t tag, uint32_t events);
  // Takes what Add() put in, and obeys StopBeginning(); false when it is to end.
  bool TakeOrders();
  void TakeConnection(UniqueFd connection, ConnectionGate::Admitted admitted);
  // Puts it into the queue, where it has something to do.
  void Queue(uint64_t id, Connection& connection);
  // One part each way, of the connection whose turn it is.
  void TakeTurn(uint64_t id);
  void MoveRequests(uint64_t id, Connection& connection);
  bool Begin(uint64_t id, Connection& connection);
  // gRPC has read what it had, or does not for too long.
  void Uncount(Connection& connection);
  // The next of those who wait, where there may be one more.
  void QueueHeld(uint32_t uid);
  // Sees to it that LookForLate() comes upon it at `time`.
  void LookAt(absl::Time time, uint64_t id, Connection& connection);
  void LookForLate();
  void Remove(uint64_t id);
  absl::Status Watch(int fd, uint64_t tag) const;
  void Wake();

  const Options options_;
  const UniqueFd epoll_;
  const UniqueFd wake_event_;

  // The thread's own.
  uint64_t next_id_ = 1;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Connection>> connections_;
  absl::flat_hash_map<uint32_t, User> users_;  // those with something unread or held
  FairQueue<uint64_t> turns_;
  std::multimap<absl::Time, uint64_t> looks_;  // at connections that may be late by then

  absl::Mutex mu_;
  std::vector<std::pair<UniqueFd, ConnectionGate::Admitted>> added_ ABSL_GUARDED_BY(mu_);
  bool begins_ ABSL_GUARDED_BY(mu_) = true;
  bool begins_no_more_ ABSL_GUARDED_BY(mu_) = false;  // the thread knows
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  size_t begun_ ABSL_GUARDED_BY(mu_) = 0;  // connections that gRPC has not closed
  Thread thread_;                          // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_CONNECTION_RELAY_H_
