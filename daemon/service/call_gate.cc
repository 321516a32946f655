#include "daemon/service/call_gate.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace weightd {

absl::StatusOr<Caller> CallGate::Admit(const grpc::CallbackServerContext& context, Right right,
                                       std::optional<Cost> stream) const {
  const auto peer = peers_.Find(context.peer());
  if (!peer.has_value()) {
    return absl::InternalError(
        absl::StrCat("the caller ", context.peer(), " is not a connection that was accepted"));
  }
  RETURN_IF_ERROR(access_.Check(*peer, right));
  Caller caller;
  static_cast<Peer&>(caller) = *peer;
  caller.connection = context.peer();
  caller.taker = {.uid = peer->uid, .operates = Allows(access_.Get(), *peer, Right::kOperate)};
  ASSIGN_OR_RETURN(Share call, limits_.Take(Cost::kCalls, caller.taker));
  caller.shares.push_back(std::move(call));
  if (stream.has_value()) {
    ASSIGN_OR_RETURN(Share more, limits_.Take(*stream, caller.taker));
    caller.shares.push_back(std::move(more));
  }
  ASSIGN_OR_RETURN(caller.queued_bytes, limits_.Take(Cost::kQueuedBytes, caller.taker, 0));
  return caller;
}

}  // namespace weightd
