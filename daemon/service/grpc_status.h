#ifndef WEIGHTD_DAEMON_SERVICE_GRPC_STATUS_H_
#define WEIGHTD_DAEMON_SERVICE_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace weightd {

// The one place where our Status becomes gRPC's: same code and message, and the reason as
// google.rpc.ErrorInfo in `grpc-status-details-bin`. Thread-safe.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_GRPC_STATUS_H_
