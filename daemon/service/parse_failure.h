#ifndef WEIGHTD_DAEMON_SERVICE_PARSE_FAILURE_H_
#define WEIGHTD_DAEMON_SERVICE_PARSE_FAILURE_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace weightd {

// Of a request that is to be a `message` and cannot be parsed as one.
absl::Status ParseFailureError(absl::string_view message);

// gRPC answers a request that cannot be parsed, such as one with a name that is not UTF-8, with
// UNIMPLEMENTED and no text. With this among ServerBuilder's interceptors our methods answer
// INVALID_ARGUMENT, the reason INVALID_REQUEST and a text.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeParseFailures();

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_PARSE_FAILURE_H_
