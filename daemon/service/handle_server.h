#ifndef WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_
#define WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_

#include <poll.h>

#include <deque>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "common/unique_fd.h"
#include "daemon/lease/lease_table.h"
#include "daemon/service/access_list.h"

namespace weightd {

// Answers on the handle socket (common/handle_protocol.h): descriptors for tickets.
//
// One request per connection. One thread waits for all of them and takes each when it has come:
// requests and answers are single messages, so that nothing blocks, and clients that say nothing
// hold up nobody. They are sent away after a while, the oldest first when there are too many.
//
// Thread-compatible.
class HandleServer {
 public:
  // Everything must outlive it.
  HandleServer(int listener, const AccessList& access, LeaseTable& leases);
  HandleServer(const HandleServer&) = delete;
  HandleServer& operator=(const HandleServer&) = delete;
  ~HandleServer() { Stop(); }

  // Closes all connections and takes no further one.
  void Stop();

 private:
  struct Waiting {
    UniqueFd connection;
    absl::Time deadline;
  };

  void Run();
  // Waits for something to happen: the stop event, the listener, then waiting_ in its order.
  std::vector<pollfd> Poll() const;
  // Answers those of waiting_ that have something to say, and sends away who is late.
  void AnswerWaiting(const std::vector<pollfd>& entries);
  void Accept();
  void Answer(int connection) const;

  const int listener_;
  const AccessList& access_;
  LeaseTable& leases_;
  UniqueFd stop_event_;

  // Used by the thread alone.
  std::deque<Waiting> waiting_;  // oldest first
  bool exhausted_ = false;       // no descriptor is left: look at the listener later

  std::thread thread_;  // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_
