#ifndef WEIGHTD_DAEMON_SERVICE_CALL_GATE_H_
#define WEIGHTD_DAEMON_SERVICE_CALL_GATE_H_

#include <grpcpp/server_context.h>

#include <optional>

#include "absl/status/statusor.h"
#include "daemon/service/access_list.h"
#include "daemon/service/caller.h"
#include "daemon/service/peer_registry.h"
#include "daemon/service/uid_limits.h"

namespace weightd {

// Decides on each new call of an admitted connection (ConnectionGate). Thread-safe.
class CallGate {
 public:
  // Everything must outlive it.
  CallGate(const PeerRegistry& peers, const AccessList& access, UidLimits& limits)
      : peers_(peers), access_(access), limits_(limits) {}

  // The caller, if it has `right`: PERMISSION_DENIED, or RESOURCE_EXHAUSTED/LIMIT_EXCEEDED. It has
  // a share of calls, and of what else `stream` is.
  absl::StatusOr<Caller> Admit(const grpc::CallbackServerContext& context, Right right,
                               std::optional<Cost> stream = std::nullopt) const;

 private:
  const PeerRegistry& peers_;
  const AccessList& access_;
  UidLimits& limits_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_CALL_GATE_H_
