#include "client/cli/daemon.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/generic/generic_stub.h>

#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd::cli {
namespace {

constexpr const char* kHealthMethod = "/grpc.health.v1.Health/Check";

// grpc.health.v1.HealthCheckResponse.ServingStatus.
std::string ServingStatusName(int value) {
  switch (value) {
    case 1:
      return "SERVING";
    case 2:
      return "NOT_SERVING";
    case 3:
      return "SERVICE_UNKNOWN";
    default:
      return "UNKNOWN";
  }
}

}  // namespace

absl::StatusOr<Daemon> Daemon::Connect(const GlobalOptions& options) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel,
                   client::OpenChannel(options.socket_dir, absl::Now() + options.timeout));
  return Daemon(std::move(channel), options);
}

Daemon::Daemon(std::shared_ptr<grpc::Channel> channel, const GlobalOptions& options)
    : socket_dir_(options.socket_dir),
      timeout_(options.timeout),
      channel_(std::move(channel)),
      stub_(v1::WeightCache::NewStub(channel_)) {}

void Daemon::SetDeadline(grpc::ClientContext& context, absl::Duration timeout) {
  if (timeout == absl::InfiniteDuration()) return;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

absl::Status Daemon::Error(const grpc::Status& status) const {
  return client::DiagnoseRpcStatus(status, socket_dir_);
}

// Debian's gRPC has no generated code for grpc.health.v1. On the wire a HealthCheckRequest is a
// StringValue and a HealthCheckResponse an Int32Value: one field, number 1, of that type.
absl::StatusOr<std::string> Daemon::CheckHealth() const {
  grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> stub(
      channel_);
  grpc::ClientContext context;
  SetDeadline(context, timeout_);
  const google::protobuf::StringValue request;
  google::protobuf::Int32Value response;
  grpc::Status status;
  absl::Notification done;
  stub.UnaryCall(&context, kHealthMethod, grpc::StubOptions(), &request, &response,
                 [&](grpc::Status result) {
                   status = std::move(result);
                   done.Notify();
                 });
  done.WaitForNotification();
  if (!status.ok()) return Error(status);
  return ServingStatusName(response.value());
}

}  // namespace weightd::cli
