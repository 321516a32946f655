#ifndef WEIGHTD_CLIENT_CPP_DAEMON_CONNECTION_H_
#define WEIGHTD_CLIENT_CPP_DAEMON_CONNECTION_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/handle_protocol.h"
#include "common/socket_paths.h"
#include "common/unique_fd.h"

// The way to the daemon, and what it means when there is none. Shared by the library and weightctl.
// All functions are thread-safe.

namespace weightd::client {

// Connects to a Unix socket of `type` by `deadline`. A failure says what an operator can do about
// it: no such socket and nobody listening are UNAVAILABLE/UNREACHABLE, no access to the directory
// or the socket is PERMISSION_DENIED/PERMISSION_DENIED, a full queue DEADLINE_EXCEEDED.
absl::StatusOr<UniqueFd> ConnectToDaemon(const std::string& path, int type, absl::Time deadline);

// Likewise, to the socket of a directory for gRPC. Where nobody named the directory, who serves
// there must be trusted: errors of CheckDefaultServer() too.
absl::StatusOr<UniqueFd> ConnectToRpcSocket(const SocketDirectory& socket_dir, absl::Time deadline);

// A channel over one connection to <socket_dir>/weightd.sock, made here: no name resolution, no
// load balancing, no proxy, no reconnecting. When the connection ends, every call on the channel
// fails with UNAVAILABLE. Errors as ConnectToDaemon.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const SocketDirectory& socket_dir,
                                                           absl::Time deadline);

// A call's status with the reason and the metadata of its google.rpc.ErrorInfo. A reason that this
// build does not know stands in the message.
absl::Status FromRpcStatus(const grpc::Status& status);

// Asks on <socket_dir>/handles.sock, and returns the descriptors that come with the answer, `count`
// at most: with more it is INVALID_ARGUMENT. What the answer says is the error; DEADLINE_EXCEEDED
// when it does not come by `deadline`. Errors as ConnectToDaemon.
//
// It is asked on a thread that is left behind then: the kernel drops what a peer sent with an
// answer, or behind it, on the thread that receives or closes, and that may last for as long as the
// peer likes (SO_LINGER, close(2) of a file of a volume that hangs).
absl::StatusOr<std::vector<UniqueFd>> AskHandleSocket(const SocketDirectory& socket_dir,
                                                      const HandleRequest& request, size_t count,
                                                      absl::Time deadline);

// Asks on <socket_dir>/handles.sock whether the daemon serves us: PERMISSION_DENIED when its
// allow-list does not name us. Errors as ConnectToDaemon; takes a few seconds at most.
absl::Status AskWhoAmI(const SocketDirectory& socket_dir);

// FromRpcStatus, and for a call that died with its connection the cause: the daemon is asked on the
// handle socket whether it knows us. PERMISSION_DENIED when the allow-list refuses us,
// UNAVAILABLE/UNREACHABLE otherwise.
absl::Status DiagnoseRpcStatus(const grpc::Status& status, const SocketDirectory& socket_dir);

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_DAEMON_CONNECTION_H_
