#include "daemon/service/peer_credentials.h"

#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/proc_text.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// /proc/<pid>/status has a line `NSpid:` with the process's pid in our namespace and in each one
// nested below it: one number means that it lives in ours. Unlike /proc/<pid>/ns/pid, everybody may
// read it.
bool LivesInOurPidNamespace(pid_t pid) {
  if (pid <= 0) return false;
  return ProcLine(ReadProcFile(absl::StrCat("/proc/", pid, "/status")), "NSpid:").size() == 2;
}

absl::StatusOr<std::vector<uint32_t>> ReadGroups(int socket) {
  std::vector<gid_t> groups(64);
  while (true) {
    socklen_t bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0) {
      groups.resize(bytes / sizeof(gid_t));
      return std::vector<uint32_t>(groups.begin(), groups.end());
    }
    if (errno != ERANGE) return PosixError(errno, "read a peer's groups");
    groups.resize(bytes / sizeof(gid_t) + 1);
  }
}

}  // namespace

absl::StatusOr<Peer> ReadPeer(int socket) {
  ucred credentials{};
  socklen_t bytes = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) {
    return PosixError(errno, "read a peer's credentials");
  }
  Peer peer;
  peer.pid = credentials.pid;
  peer.uid = credentials.uid;
  peer.gid = credentials.gid;
  ASSIGN_OR_RETURN(peer.groups, ReadGroups(socket));
  peer.same_pid_namespace = LivesInOurPidNamespace(credentials.pid);
  return peer;
}

}  // namespace weightd
