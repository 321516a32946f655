#include "client/cli/daemon.h"

#include <utility>

#include "common/errors.h"
#include "common/status_macros.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace weightd::cli {

SocketDirectory DirectoryOf(const GlobalOptions& options) {
  return {options.socket_dir, options.default_socket_dir};
}

void SetSocketDir(const SocketDirectory& directory, GlobalOptions& options) {
  options.socket_dir = directory.path;
  options.default_socket_dir = directory.is_default;
}

absl::StatusOr<Daemon> Daemon::Connect(const GlobalOptions& options) {
  const absl::Time deadline = absl::Now() + options.timeout;
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel,
                   client::OpenChannel(DirectoryOf(options), deadline));
  return Daemon(std::move(channel), options, deadline);
}

Daemon::Daemon(std::shared_ptr<grpc::Channel> channel, const GlobalOptions& options,
               absl::Time deadline)
    : socket_dir_(DirectoryOf(options)),
      deadline_(deadline),
      channel_(std::move(channel)),
      stub_(v1::WeightCache::NewStub(channel_)) {}

void Daemon::SetDeadline(grpc::ClientContext& context, absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return;
  context.set_deadline(absl::ToChronoTime(deadline));
}

absl::Status Daemon::Error(const grpc::Status& status) const {
  return client::DiagnoseRpcStatus(status, socket_dir_);
}

absl::StatusOr<std::string> Daemon::CheckHealth() const {
  grpc::ClientContext context;
  SetDeadline(context, deadline_);
  grpc::health::v1::HealthCheckResponse response;
  const auto stub = grpc::health::v1::Health::NewStub(channel_);
  const grpc::Status status =
      stub->Check(&context, grpc::health::v1::HealthCheckRequest(), &response);
  if (!status.ok()) return Error(status);
  const std::string name =
      grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
  return name.empty() ? "UNKNOWN" : name;
}

}  // namespace weightd::cli
