#ifndef WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_
#define WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_

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
  // Takes no further connection. Those being answered end with the pool.
  void Stop() { acceptor_.Stop(); }

 private:
  void OnConnection(UniqueFd connection);
  void Answer(int connection);

  const AccessOptions& access_;
  LeaseTable& leases_;
  BlockingPool& pool_;
  ConnectionAcceptor acceptor_;  // last: it starts a thread that uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_HANDLE_SERVER_H_
