#include "common/fd_passing.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

absl::Status WaitFor(int socket, int16_t events, absl::Time deadline, absl::string_view what) {
  while (true) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat(what, ": timed out"));
    }
    pollfd entry{.fd = socket, .events = events, .revents = 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(left) + 1));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return PosixError(errno, what);
  }
}

using FdControl = std::array<char, CMSG_SPACE(kFdsPerMessageMax * sizeof(int))>;

void TakeDescriptors(msghdr& message, std::vector<UniqueFd>& fds) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
}

// recvmsg(2) without waiting; what came with it is put into `fds`, and msg_flags into `flags`.
ssize_t ReceiveSome(int socket, absl::Span<char> bytes, size_t fds_max, std::vector<UniqueFd>& fds,
                    int& flags) {
  alignas(cmsghdr) FdControl control{};
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  // Not CMSG_SPACE, where one more would have room.
  message.msg_controllen = CMSG_LEN(std::min(fds_max, kFdsPerMessageMax) * sizeof(int));
  const ssize_t received = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (received >= 0) TakeDescriptors(message, fds);
  flags = message.msg_flags;
  return received;
}

// One message, by `receive`, which sets the flags that came with it.
absl::StatusOr<std::string> ReceiveOne(
    int socket, absl::Duration timeout, size_t fds_max,
    absl::FunctionRef<ssize_t(absl::Span<char> bytes, int& flags)> receive) {
  const absl::Time deadline = absl::Now() + timeout;
  std::array<char, kFdMessageBytesMax + 1> bytes;
  ssize_t received = 0;
  int flags = 0;
  while (true) {
    received = receive(absl::MakeSpan(bytes), flags);
    if (received >= 0) break;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return PosixError(errno, "receive message");
    RETURN_IF_ERROR(WaitFor(socket, POLLIN, deadline, "receive message"));
  }
  if (received == 0) return absl::UnavailableError("receive message: the peer closed the socket");
  if ((flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("receive message: longer than ",
                                                   kFdMessageBytesMax, " bytes or more than ",
                                                   fds_max, " descriptors"));
  }
  return std::string(bytes.data(), static_cast<size_t>(received));
}

}  // namespace

ssize_t ReceiveBytes(int socket, absl::Span<char> bytes, std::vector<UniqueFd>& strays) {
  int flags = 0;
  return ReceiveSome(socket, bytes, kFdsPerMessageMax, strays, flags);
}

absl::Status SendFdMessage(int socket, absl::string_view bytes, absl::Span<const int> fds,
                           absl::Duration timeout) {
  if (fds.size() > kFdsPerMessageMax || bytes.size() > kFdMessageBytesMax || bytes.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("send message: ", bytes.size(), " bytes and ",
                                                   fds.size(), " descriptors, allowed are 1 to ",
                                                   kFdMessageBytesMax, " and ", kFdsPerMessageMax));
  }
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) FdControl control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return absl::OkStatus();
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return PosixError(errno, "send message with descriptors");
    RETURN_IF_ERROR(WaitFor(socket, POLLOUT, deadline, "send message with descriptors"));
  }
}

absl::StatusOr<FdMessage> ReceiveFdMessage(int socket, absl::Duration timeout) {
  FdMessage result;
  ASSIGN_OR_RETURN(result.bytes, ReceiveMessage(socket, timeout, result.fds));
  return result;
}

absl::StatusOr<std::string> ReceiveMessage(int socket, absl::Duration timeout,
                                           std::vector<UniqueFd>& strays, size_t fds_max) {
  return ReceiveOne(socket, timeout, fds_max, [&](absl::Span<char> bytes, int& flags) {
    return ReceiveSome(socket, bytes, fds_max, strays, flags);
  });
}

absl::StatusOr<std::string> ReceivePlainMessage(int socket, absl::Duration timeout) {
  return ReceiveOne(socket, timeout, 0, [socket](absl::Span<char> bytes, int& flags) {
    iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const ssize_t received = ::recvmsg(socket, &message, MSG_DONTWAIT);
    flags = message.msg_flags & MSG_TRUNC;  // descriptors are lost, and not missed
    return received;
  });
}

}  // namespace weightd
