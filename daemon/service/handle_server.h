#ifndef WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_
#define WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "daemon/lease/lease_table.h"
#include "daemon/service/access_list.h"
#include "daemon/service/blocking_pool.h"
#include "daemon/service/connection_acceptor.h"

namespace weightd {

// Answers on the handle socket (common/handle_protocol.h): descriptors for tickets.
//
// One request per connection, answered on the pool with a deadline, so that a client that says
// nothing holds up nobody else for long. Thread-compatible.
class HandleServer {
 public:
  // Everything must outlive it.
  HandleServer(int listener, const AccessOptions& access, LeaseTable& leases, BlockingPool& pool);
  HandleServer(const HandleServer&) = delete;
  HandleServer& operator=(const HandleServer&) = delete;
  ~HandleServer() { Stop(); }
  // Takes no further connection and ends those that wait or are being answered: a client that says
  // nothing must not hold up the daemon's end.
  void Stop();

 private:
  void OnConnection(UniqueFd connection);
  void Answer(int connection);
  // Whether `connection` may be answered; then it is in answered_ until Leave().
  bool Enter(int connection);
  void Leave(int connection);

  const AccessOptions& access_;
  LeaseTable& leases_;
  BlockingPool& pool_;
  absl::Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_set<int> answered_ ABSL_GUARDED_BY(mu_);
  ConnectionAcceptor acceptor_;  // last: it starts a thread that uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_
