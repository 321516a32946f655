#include "client/cpp/daemon_connection.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/support/channel_arguments.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cpp/server_trust.h"
#include "common/bounded_call.h"
#include "common/errors.h"
#include "common/fd_passing.h"
#include "common/handle_protocol.h"
#include "common/message_limits.h"
#include "common/socket_paths.h"
#include "common/status_macros.h"
#include "common/unix_socket.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace weightd::client {
namespace {

// How long the daemon may take to say who we are.
constexpr absl::Duration kWhoAmITimeout = absl::Seconds(2);
// Who asks keeps the deadline itself, and says best what it waited for: it is left a moment later.
constexpr absl::Duration kMoment = absl::Milliseconds(100);
// Flow-control window of a stream: a grant of 10,000 tensors passes without waiting for updates.
constexpr int kStreamWindowBytes = 4 << 20;
constexpr int kFrameBytesMax = 1 << 20;

absl::Status Unreachable(absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kUnreachable, message);
}

bool IsSocket(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 && S_ISSOCK(facts.st_mode);
}

// What the failed connection `error` to `path` means to an operator.
absl::Status ConnectError(const absl::Status& error, const std::string& path) {
  const std::string what = absl::StrCat("connect to ", path);
  switch (error.code()) {
    case absl::StatusCode::kNotFound:
      return Unreachable(absl::StrCat(what, ": no such socket; is weightd running, and does ",
                                      kSocketDirVariable,
                                      " (or --socket-dir) name its directory?"));
    case absl::StatusCode::kUnavailable:
      return Unreachable(absl::StrCat(
          what, IsSocket(path)
                    ? ": nobody listens; the socket was left behind by a weightd that ended"
                    : ": something of that name is there and is no socket; remove it, and start "
                      "weightd"));
    case absl::StatusCode::kPermissionDenied:
      return ErrorWithReason(
          absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied,
          absl::StrCat(what,
                       ": permission denied; directory and socket are open to weightd's "
                       "group only"));
    case absl::StatusCode::kDeadlineExceeded:
      return absl::DeadlineExceededError(
          absl::StrCat(what, ": timed out; weightd does not accept connections"));
    case absl::StatusCode::kInvalidArgument:
      return error;
    default:
      return Unreachable(error.message());
  }
}

absl::StatusOr<UniqueFd> ConnectTrusted(const SocketDirectory& socket_dir, const std::string& path,
                                        int type, absl::Time deadline) {
  ASSIGN_OR_RETURN(UniqueFd socket, ConnectToDaemon(path, type, deadline));
  if (socket_dir.is_default) RETURN_IF_ERROR(CheckDefaultServer(socket_dir.path, socket.get()));
  return socket;
}

using Descriptors = absl::StatusOr<std::vector<UniqueFd>>;

Descriptors AskOnThisThread(const SocketDirectory& socket_dir, const HandleRequest& request,
                            size_t count, absl::Time deadline) {
  ASSIGN_OR_RETURN(
      const UniqueFd socket,
      ConnectTrusted(socket_dir, HandleSocketPath(socket_dir.path), SOCK_SEQPACKET, deadline));
  RETURN_IF_ERROR(
      SendFdMessage(socket.get(), EncodeHandleRequest(request), {}, deadline - absl::Now()));
  std::vector<UniqueFd> fds;
  ASSIGN_OR_RETURN(const std::string reply,
                   count == 0 ? ReceivePlainMessage(socket.get(), deadline - absl::Now())
                              : ReceiveMessage(socket.get(), deadline - absl::Now(), fds, count));
  RETURN_IF_ERROR(DecodeHandleReply(reply));
  return fds;
}

absl::StatusCode FromRpcCode(grpc::StatusCode code) {
  const int value = static_cast<int>(code);
  const bool known = value >= 0 && value <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  return known ? static_cast<absl::StatusCode>(value) : absl::StatusCode::kUnknown;
}

}  // namespace

absl::StatusOr<UniqueFd> ConnectToDaemon(const std::string& path, int type, absl::Time deadline) {
  absl::StatusOr<UniqueFd> socket = ConnectUnixSocket(path, type, deadline);
  if (!socket.ok()) return ConnectError(socket.status(), path);
  return socket;
}

absl::StatusOr<UniqueFd> ConnectToRpcSocket(const SocketDirectory& socket_dir,
                                            absl::Time deadline) {
  return ConnectTrusted(socket_dir, RpcSocketPath(socket_dir.path), SOCK_STREAM, deadline);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const SocketDirectory& socket_dir,
                                                           absl::Time deadline) {
  ASSIGN_OR_RETURN(UniqueFd socket, ConnectToRpcSocket(socket_dir, deadline));
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return PosixError(errno, "make socket non-blocking");
  }
  // gRPC takes none: the kernel would close what came, which can last (where it can refuse them).
  (void)RefuseDescriptors(socket.get());
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(kMessageBytesMax));
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kStreamWindowBytes);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytesMax);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // gRPC owns the descriptor from here on.
  return grpc::CreateCustomInsecureChannelFromFd("weightd", socket.release(), arguments);
}

absl::Status FromRpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const absl::StatusCode code = FromRpcCode(status.error_code());
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) {
    return absl::Status(code, status.error_message());
  }
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::ErrorInfo info;
    if (!detail.Is<google::rpc::ErrorInfo>() || !detail.UnpackTo(&info)) continue;
    if (info.domain() != std::string(kErrorDomain)) continue;
    const std::optional<Reason> reason = ReasonFromName(info.reason());
    if (!reason.has_value()) {
      return absl::Status(code, absl::StrCat(status.error_message(), " (", info.reason(), ")"));
    }
    return ErrorWithReason(code, *reason, status.error_message(),
                           {info.metadata().begin(), info.metadata().end()});
  }
  return absl::Status(code, status.error_message());
}

absl::StatusOr<std::vector<UniqueFd>> AskHandleSocket(const SocketDirectory& socket_dir,
                                                      const HandleRequest& request, size_t count,
                                                      absl::Time deadline) {
  const absl::StatusOr<std::shared_ptr<Descriptors>> answer =
      CallWithin<std::shared_ptr<Descriptors>>(
          deadline - absl::Now() + kMoment, "ask weightd for handles", [=] {
            return std::make_shared<Descriptors>(
                AskOnThisThread(socket_dir, request, count, deadline));
          });
  if (answer.ok()) return std::move(**answer);
  if (!absl::IsDeadlineExceeded(answer.status())) return answer.status();
  return absl::DeadlineExceededError(
      absl::StrCat(HandleSocketPath(socket_dir.path), ": no answer in time"));
}

absl::Status AskWhoAmI(const SocketDirectory& socket_dir) {
  return AskHandleSocket(socket_dir, {}, 0, absl::Now() + kWhoAmITimeout).status();
}

absl::Status DiagnoseRpcStatus(const grpc::Status& status, const SocketDirectory& socket_dir) {
  absl::Status error = FromRpcStatus(status);
  if (error.code() != absl::StatusCode::kUnavailable || GetReason(error).has_value()) return error;
  absl::Status me = AskWhoAmI(socket_dir);
  if (GetReason(me).has_value()) return me;
  if (!me.ok()) {
    return Unreachable(
        absl::StrCat("the connection to weightd at ", RpcSocketPath(socket_dir.path),
                     " broke, and its handle socket does not answer: ", me.message()));
  }
  return Unreachable(absl::StrCat("weightd at ", RpcSocketPath(socket_dir.path),
                                  " closed the connection: ", error.message()));
}

}  // namespace weightd::client
