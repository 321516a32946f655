#include "daemon/service/self_probe.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/server_posix.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/errors.h"

namespace weightd {
namespace {

constexpr const char* kHealthMethod = "/grpc.health.v1.Health/Check";

}  // namespace

absl::Status ProbeServer(grpc::Server& server, absl::Duration timeout) {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) != 0) {
    return PosixError(errno, "make a connection to ourselves");
  }
  // gRPC owns both descriptors from here on.
  grpc::AddInsecureChannelFromFd(&server, pair[0]);
  // Debian's gRPC has no generated code for grpc.health.v1: its messages are those of one field.
  grpc::TemplatedGenericStub<google::protobuf::StringValue, google::protobuf::Int32Value> stub(
      grpc::CreateInsecureChannelFromFd("weightd", pair[1]));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
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
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat("our own health: ", status.error_message()));
}

}  // namespace weightd
