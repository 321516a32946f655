#include "daemon/service/parse_failure.h"

#include <google/protobuf/descriptor.h>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "daemon/service/grpc_status.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerInterceptorFactoryInterface;
using grpc::experimental::ServerRpcInfo;

// For one call. What our own code answers always has a text.
class ParseFailure final : public Interceptor {
 public:
  explicit ParseFailure(std::string request) : request_(std::move(request)) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      const grpc::Status status = methods->GetSendStatus();
      if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED &&
          status.error_message().empty()) {
        methods->ModifySendStatus(ToGrpcStatus(ParseFailureError(request_)));
      }
    }
    methods->Proceed();
  }

 private:
  const std::string request_;
};

class ParseFailures final : public ServerInterceptorFactoryInterface {
 public:
  ParseFailures() {
    const auto* service = v1::AttachRequest::descriptor()->file()->service(0);
    for (int i = 0; i < service->method_count(); ++i) {
      const auto* method = service->method(i);
      requests_[absl::StrCat("/", service->full_name(), "/", method->name())] =
          method->input_type()->full_name();
    }
  }

  // Null for methods that are not ours: then nothing is put between.
  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    const auto found = requests_.find(info->method());
    return found == requests_.end() ? nullptr : new ParseFailure(found->second);
  }

 private:
  std::map<std::string, std::string, std::less<>> requests_;  // by method; fixed
};

}  // namespace

absl::Status ParseFailureError(absl::string_view message) {
  return ErrorWithReason(
      absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
      absl::StrCat("the request cannot be parsed as ", message, "; texts are UTF-8"));
}

std::unique_ptr<ServerInterceptorFactoryInterface> MakeParseFailures() {
  return std::make_unique<ParseFailures>();
}

}  // namespace weightd
