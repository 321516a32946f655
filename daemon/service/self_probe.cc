#include "daemon/service/self_probe.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/server_posix.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace weightd {

absl::Status ProbeServer(grpc::Server& server, absl::Duration timeout) {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) != 0) {
    return PosixError(errno, "make a connection to ourselves");
  }
  // gRPC owns both descriptors from here on.
  grpc::AddInsecureChannelFromFd(&server, pair[0]);
  const auto stub =
      grpc::health::v1::Health::NewStub(grpc::CreateInsecureChannelFromFd("weightd", pair[1]));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status =
      stub->Check(&context, grpc::health::v1::HealthCheckRequest(), &response);
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat("our own health: ", status.error_message()));
}

}  // namespace weightd
