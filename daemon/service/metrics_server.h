#ifndef WEIGHTD_DAEMON_SERVICE_METRICS_SERVER_H_
#define WEIGHTD_DAEMON_SERVICE_METRICS_SERVER_H_

#include <prometheus/collectable.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/thread.h"
#include "common/unique_fd.h"

namespace weightd {

// Answers GET /metrics over HTTP, on one thread of its own, until it is destroyed. Who may connect
// is the network's matter: what is told are sizes and counts.
//
// Nobody keeps a scraper out. The thread never waits for one client: it takes of each what has come
// and sends what has room. A connection is for one request, whose head has a deadline, as has the
// taking of the answer; what drips renews neither. When there are too many connections, the oldest
// that has not sent its head yet goes, else the oldest. All requests that have come meanwhile get
// the same text, so that a flood of them does not collect more often than the thread can.
//
// Thread-safe.
class MetricsServer {
 public:
  struct Limits {
    // A part of the descriptors that the process may have now (RLIMIT_NOFILE): one in 32, 4 to 512.
    static Limits OfThisProcess();

    size_t connections_max = 512;                       // at least 1
    absl::Duration head_timeout = absl::Seconds(2);     // from when the connection was accepted
    absl::Duration answer_timeout = absl::Seconds(10);  // from the end of the head
  };
  // A larger head is answered with 431.
  static constexpr size_t kHeadBytesMax = 8192;

  // `address` is PORT or HOST:PORT, an IPv6 host in brackets; port 0 takes one that is free.
  // UNAVAILABLE when nobody can listen there, RESOURCE_EXHAUSTED when the system gives no
  // descriptor or no thread.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      const std::string& address, std::shared_ptr<prometheus::Collectable> metrics,
      const Limits& limits = Limits::OfThisProcess());
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;
  // Closes all connections; returns when a text that is being collected is made.
  ~MetricsServer();

  int port() const { return port_; }

 private:
  enum class State {
    kHead,      // its request comes
    kAsks,      // gets the next text
    kAnswer,    // its answer goes
    kFarewell,  // all was sent: it shall close. If we did, what it sent would undo the answer.
  };
  struct Connection {
    UniqueFd socket;
    State state = State::kHead;
    absl::Time deadline;
    std::string head;
    bool wants_body = true;
    std::string answer_head;
    std::shared_ptr<const std::string> body;
    size_t sent = 0;  // of both together
  };
  // By when they were accepted.
  using Connections = std::map<uint64_t, Connection>;

  MetricsServer(std::shared_ptr<prometheus::Collectable> metrics, const Limits& limits,
                UniqueFd listener);

  void Run();
  absl::Time NextDeadline() const;
  // The connection of an event, while it lasts.
  void Go(uint64_t number);
  // These return whether the connection lasts.
  bool ReadHead(Connection& connection);
  bool Answer(Connection& connection, int status, std::shared_ptr<const std::string> body);
  bool Send(Connection& connection);
  bool AwaitClose(Connection& connection) const;
  // One text, for all that ask now.
  void AnswerWhoAsks();
  void AcceptSome();
  void Add(UniqueFd socket);
  // The oldest that has not sent its head, or has its answer; else the oldest that takes its
  // answer.
  Connections::iterator WhoMayGo();
  void SendAwayLate();
  void Accepts(bool accepts);
  void Watch(int socket, int operation, uint32_t events, uint64_t number) const;

  const std::shared_ptr<prometheus::Collectable> metrics_;
  const Limits limits_;
  const UniqueFd listener_;
  const int port_;
  UniqueFd epoll_;
  UniqueFd stop_event_;

  // Of the thread alone.
  Connections connections_;
  uint64_t next_number_;
  absl::Time accept_again_ = absl::InfiniteFuture();  // after the system gave no descriptor

  Thread thread_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_METRICS_SERVER_H_
