#ifndef WEIGHTD_DAEMON_LEASE_PEER_H_
#define WEIGHTD_DAEMON_LEASE_PEER_H_

#include <cstdint>
#include <vector>

namespace weightd {

// Who is at the other end of a connection, as the kernel said when it was accepted (SO_PEERCRED,
// SO_PEERGROUPS).
struct Peer {
  int32_t pid = 0;  // in our PID namespace; 0 for a process that it does not show
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // supplementary
  // It lives in our PID namespace: only then can a CUDA IPC handle of ours work for it.
  bool same_pid_namespace = false;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_LEASE_PEER_H_
