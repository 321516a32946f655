#ifndef WEIGHTD_DAEMON_SERVICE_REFLECTION_SERVICE_H_
#define WEIGHTD_DAEMON_SERVICE_REFLECTION_SERVICE_H_

#include <string>
#include <utility>
#include <vector>

#include "daemon/service/call_gate.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"

namespace weightd {

// The answer of the reflection protocol to one request, of a server with `services`: from what is
// compiled into this program. An error is an answer, too (ErrorResponse). Thread-safe.
grpc::reflection::v1alpha::ServerReflectionResponse Reflect(
    const grpc::reflection::v1alpha::ServerReflectionRequest& request,
    const std::vector<std::string>& services);

// grpc.reflection.v1alpha, for tools such as grpcurl. gRPC brings one of its own, which takes a
// thread for each open stream: a few streams of one user would be all there are. This one takes
// none, and a stream counts as a call of its uid, and its answers as bytes that wait for it.
// Thread-safe.
class ReflectionService final
    : public grpc::reflection::v1alpha::ServerReflection::CallbackService {
 public:
  // `gate` must outlive it. `services` are full names.
  ReflectionService(const CallGate& gate, std::vector<std::string> services)
      : gate_(gate), services_(std::move(services)) {}

  grpc::ServerBidiReactor<grpc::reflection::v1alpha::ServerReflectionRequest,
                          grpc::reflection::v1alpha::ServerReflectionResponse>*
  ServerReflectionInfo(grpc::CallbackServerContext* context) override;

 private:
  const CallGate& gate_;
  const std::vector<std::string> services_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_REFLECTION_SERVICE_H_
