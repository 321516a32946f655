#include "daemon/service/access_list.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace weightd {
namespace {

bool Contains(const std::vector<uint32_t>& list, uint32_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

bool Matches(const std::vector<uint32_t>& uids, const std::vector<uint32_t>& gids,
             const Peer& peer) {
  return Contains(uids, peer.uid) || Contains(gids, peer.gid) ||
         std::any_of(peer.groups.begin(), peer.groups.end(),
                     [&](uint32_t group) { return Contains(gids, group); });
}

}  // namespace

AccessOptions DefaultAccess() {
  AccessOptions access;
  access.attach_uids = {0, ::geteuid()};
  access.attach_gids = {::getegid()};
  access.operate_uids = {0, ::geteuid()};
  return access;
}

bool Allows(const AccessOptions& access, const Peer& peer, Right right) {
  if (Matches(access.operate_uids, access.operate_gids, peer)) return true;
  return right == Right::kAttach && Matches(access.attach_uids, access.attach_gids, peer);
}

absl::Status CheckAccess(const AccessOptions& access, const Peer& peer, Right right) {
  if (Allows(access, peer, right)) return absl::OkStatus();
  const bool attach = right == Right::kAttach;
  return ErrorWithReason(
      absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied,
      absl::StrCat("uid ", peer.uid, " gid ", peer.gid, " may not ", attach ? "attach" : "operate",
                   "; the daemon's access.", attach ? "attach" : "operate", "_uid or ",
                   attach ? "attach" : "operate", "_gid must name it"));
}

}  // namespace weightd
