#ifndef WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_
#define WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_

#include <poll.h>

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/detached_closer.h"
#include "common/thread.h"
#include "common/unique_fd.h"
#include "daemon/lease/peer.h"
#include "daemon/service/connection_acceptor.h"
#include "daemon/service/connection_gate.h"

namespace weightd {

// Answers on the handle socket (common/handle_protocol.h): descriptors for tickets.
//
// One request per connection. One thread accepts; whom the gate refuses it tells so, and reads
// nothing of them. Another waits for all that were admitted and takes each request when it has
// come: requests and answers are single messages, so that nothing blocks, and clients that say
// nothing hold up nobody. They are sent away after a while; when there are too many, the oldest of
// the uid that has most.
//
// Descriptors that peers send are closed elsewhere, see DetachedCloser; where the kernel can, it
// refuses them (SocketDir).
//
// Thread-compatible.
class HandleServer {
 public:
  // The descriptors of a ticket, for that peer: LeaseTable::RedeemTicket().
  using Redeem =
      std::function<absl::StatusOr<std::vector<UniqueFd>>(absl::string_view ticket, const Peer&)>;

  // Everything must outlive it.
  struct Dependencies {
    ConnectionGate& gate;
    DetachedCloser& closer;
    Redeem redeem;
  };

  // RESOURCE_EXHAUSTED when the system gives no descriptor or no thread.
  static absl::StatusOr<std::unique_ptr<HandleServer>> Start(int listener,
                                                             const Dependencies& with);
  HandleServer(const HandleServer&) = delete;
  HandleServer& operator=(const HandleServer&) = delete;
  ~HandleServer() { Stop(); }

  // Takes connections from `listener` instead, once it returns. Not after Stop().
  void ListenOn(int listener) { acceptor_->ListenOn(listener); }
  // Closes all connections and takes no further one.
  void Stop();

 private:
  struct Waiting {
    UniqueFd connection;
    uint32_t uid = 0;
    ConnectionGate::Admitted admitted;
    // Told already that it is refused: what is left is that the client closes. If we did, its
    // unread request would turn our answer into ECONNRESET.
    bool refused = false;
    absl::Time deadline = absl::InfinitePast();
  };

  HandleServer(const Dependencies& with, UniqueFd wake_event)
      : with_(with), wake_event_(std::move(wake_event)) {}

  void OnConnection(UniqueFd connection);
  bool HasRoom();

  void Run();
  // Waits for something to happen: the wake event, then waiting_ in its order.
  std::vector<pollfd> Poll() const;
  // Answers those of waiting_ that have something to say, and sends away who is late.
  void AnswerWaiting(const std::vector<pollfd>& entries);
  // Takes what was accepted meanwhile.
  void TakeIncoming();
  void SendAwayOne();
  void Answer(const Waiting& waiting);
  absl::StatusOr<std::vector<UniqueFd>> TakeRequest(const Waiting& waiting);
  void Drop(Waiting& waiting);

  const Dependencies with_;
  const UniqueFd wake_event_;

  absl::Mutex mu_;
  std::deque<Waiting> incoming_ ABSL_GUARDED_BY(mu_);
  bool stops_ ABSL_GUARDED_BY(mu_) = false;

  std::deque<Waiting> waiting_;  // oldest first; of the thread alone

  Thread thread_;  // these use the rest
  std::unique_ptr<ConnectionAcceptor> acceptor_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_
