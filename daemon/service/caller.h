#ifndef WEIGHTD_DAEMON_SERVICE_CALLER_H_
#define WEIGHTD_DAEMON_SERVICE_CALLER_H_

#include <string>
#include <vector>

#include "daemon/lease/peer.h"
#include "daemon/service/uid_limits.h"

namespace weightd {

// Who makes a call, and what the call takes of the limits of its uid for as long as it lasts.
struct Caller : Peer {
  UidLimits::Taker taker;
  std::vector<Share> shares;
  Share queued_bytes;      // 0 of them: a stream takes what it needs
  std::string connection;  // gRPC's name of it
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_CALLER_H_
