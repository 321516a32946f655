#ifndef WEIGHTD_COMMON_FD_PASSING_H_
#define WEIGHTD_COMMON_FD_PASSING_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/unique_fd.h"

// Messages with file descriptors over a connected Unix SOCK_SEQPACKET socket (unix(7),
// SCM_RIGHTS). One message is one packet; but ReceiveBytes() is for streams. Thread-compatible per
// socket.

namespace weightd {

// Descriptors in one message: the kernel's own limit (SCM_MAX_FD) is 253.
inline constexpr size_t kFdsPerMessageMax = 253;
// Bytes in one message.
inline constexpr size_t kFdMessageBytesMax = 4096;

struct FdMessage {
  std::string bytes;
  std::vector<UniqueFd> fds;  // close-on-exec
};

// Sends one message. INVALID_ARGUMENT beyond the limits above; DEADLINE_EXCEEDED when the peer
// does not take it within `timeout`; UNAVAILABLE when the peer is gone (never SIGPIPE).
absl::Status SendFdMessage(int socket, absl::string_view bytes, absl::Span<const int> fds,
                           absl::Duration timeout);

// Receives one message. UNAVAILABLE when the peer closed, DEADLINE_EXCEEDED after `timeout`,
// INVALID_ARGUMENT for a message beyond the limits (descriptors that came are closed).
absl::StatusOr<FdMessage> ReceiveFdMessage(int socket, absl::Duration timeout);

// Likewise, of a peer whose descriptors nobody wants: the message's bytes. Descriptors that came,
// also with an error, are put into `strays`: to close them may take for ever. With more of them
// than `fds_max` it is INVALID_ARGUMENT, and the rest never becomes this process's.
absl::StatusOr<std::string> ReceiveMessage(int socket, absl::Duration timeout,
                                           std::vector<UniqueFd>& strays,
                                           size_t fds_max = kFdsPerMessageMax);

// Likewise, with no room for descriptors: what comes of them never becomes this process's, which
// would have to close it, at its end at the latest.
absl::StatusOr<std::string> ReceivePlainMessage(int socket, absl::Duration timeout);

// recv(2) without waiting, of a stream whose peer's descriptors nobody wants: likewise. What came
// with descriptors ends there.
ssize_t ReceiveBytes(int socket, absl::Span<char> bytes, std::vector<UniqueFd>& strays);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_FD_PASSING_H_
