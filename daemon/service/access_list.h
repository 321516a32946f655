#ifndef WEIGHTD_DAEMON_SERVICE_ACCESS_LIST_H_
#define WEIGHTD_DAEMON_SERVICE_ACCESS_LIST_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "daemon/lease/peer.h"

// Who may do what: one allow-list of uids and gids for attaching, which includes all that only
// reads, and one for operating (stage, evict, pin). Plain data: thread-safe once made.

namespace weightd {

enum class Right { kAttach, kOperate };

struct AccessOptions {
  std::vector<uint32_t> attach_uids;
  std::vector<uint32_t> attach_gids;  // primary or supplementary
  std::vector<uint32_t> operate_uids;
  std::vector<uint32_t> operate_gids;
};

// What holds where the configuration says nothing: root and the daemon's own uid may do everything,
// the daemon's group may attach.
AccessOptions DefaultAccess();

// Whether `peer` has `right`; who may operate may attach.
bool Allows(const AccessOptions& access, const Peer& peer, Right right);

// PERMISSION_DENIED/PERMISSION_DENIED with uid, gid and the setting that would allow it.
absl::Status CheckAccess(const AccessOptions& access, const Peer& peer, Right right);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_ACCESS_LIST_H_
