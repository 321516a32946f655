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
  access.operate_uids = {0};
  if (::geteuid() != 0) access.operate_uids.push_back(::geteuid());
  access.attach_uids = access.operate_uids;
  access.attach_gids = {::getegid()};
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

absl::Status AccessList::Check(const Peer& peer, Right right) const {
  absl::Status allowed = CheckAccess(*current(), peer, right);
  if (!allowed.ok()) ++RefusalsOf(right);
  return allowed;
}

}  // namespace weightd
