#include "daemon/service/connection_gate.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr absl::Duration kTellInterval = absl::Seconds(10);

}  // namespace

absl::Status CheckDescriptorsOf(uint32_t uid, const DetachedCloser& closer) {
  if (!closer.full(uid)) return absl::OkStatus();
  return ErrorWithReason(
      absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
      absl::StrCat("uid ", uid,
                   " has sent descriptors that the kernel cannot close, as many as "
                   "one user may; end what they lead to, or restart weightd"));
}

ConnectionGate::ConnectionGate(const AccessList& access, UidLimits& limits, const Clock& clock,
                               OnRefused on_refused)
    : access_(access), limits_(limits), clock_(clock), on_refused_(std::move(on_refused)) {}

UidLimits::Taker ConnectionGate::TakerOf(const Peer& peer) const {
  return {.uid = peer.uid, .operates = Allows(access_.Get(), peer, Right::kOperate)};
}

absl::Status ConnectionGate::CheckRpc(const Peer& peer) const {
  RETURN_IF_ERROR(access_.Check(peer, Right::kAttach));
  return limits_.Fits(Cost::kConnections, TakerOf(peer));
}

absl::StatusOr<ConnectionGate::Admitted> ConnectionGate::Admit(
    Peer peer, Cost cost, const std::function<void()>& make_room) {
  Admitted admitted{.peer = std::move(peer), .share = {}, .streams = {}, .unfinished = {}};
  RETURN_IF_ERROR(access_.Check(admitted.peer, Right::kAttach));
  const UidLimits::Taker taker = TakerOf(admitted.peer);
  if (make_room && !limits_.Fits(cost, taker).ok()) make_room();
  absl::StatusOr<Share> share = limits_.Take(cost, taker);
  if (!share.ok()) {
    Tell(cost, admitted.peer, share.status());
    return share.status();
  }
  admitted.share = *std::move(share);
  ASSIGN_OR_RETURN(admitted.streams, limits_.Take(Cost::kStreams, taker, 0));
  ASSIGN_OR_RETURN(admitted.unfinished, limits_.Take(Cost::kUnfinishedRequests, taker, 0));
  return admitted;
}

void ConnectionGate::TellOfEnd(const Peer& peer, const absl::Status& status) {
  Tell(Cost::kStreams, peer, status);
}

void ConnectionGate::Tell(Cost cost, const Peer& peer, const absl::Status& status) {
  uint64_t unsaid = 0;
  {
    absl::MutexLock lock(&mu_);
    Told& told = told_[static_cast<size_t>(cost)];
    if (clock_.Now() - told.time < kTellInterval) {
      ++told.unsaid;
      return;
    }
    told.time = clock_.Now();
    unsaid = std::exchange(told.unsaid, 0);
  }
  if (on_refused_) {
    on_refused_({.cost = cost, .peer = peer, .status = status, .unsaid = unsaid});
  }
}

}  // namespace weightd
