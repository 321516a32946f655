#ifndef WEIGHTD_DAEMON_SERVICE_REFLECTION_LIMIT_H_
#define WEIGHTD_DAEMON_SERVICE_REFLECTION_LIMIT_H_

#include <grpcpp/support/server_interceptor.h>

#include <cstdint>
#include <memory>

#include "daemon/service/peer_registry.h"

namespace weightd {

// Reflection, which gRPC brings, takes a thread for each open stream, and there are 16 for all. A
// uid has so many of them at once; what it opens beyond is cancelled.
inline constexpr uint32_t kReflectionStreamsPerUidMax = 4;

// For ServerBuilder's interceptors. `peers` outlives the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeReflectionLimit(
    const PeerRegistry& peers);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_REFLECTION_LIMIT_H_
