#include "daemon/service/relayed_connection.h"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "common/errors.h"
#include "common/fd_passing.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// Of answers in the kernel on their way to us; twice that is what setsockopt(2) makes of it. The
// kernel holds more on the way to the client.
constexpr int kServerBufferBytes = 32 * 1024;
// What a socket's queue may count while a buffer is being freed. No message counts less than 512.
constexpr int kEmptyQueueBytes = 256;

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

// How much it took, 0 when it takes none now, -1 when nobody reads it any more.
ssize_t WriteSome(int socket, absl::string_view bytes) {
  const ssize_t written = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (written >= 0) return written;
  return WouldBlock() ? 0 : -1;
}

uint64_t Beyond(uint64_t free, uint64_t count) { return std::max(count, free) - free; }

absl::Status SetTo(uint64_t wanted, Share& share) {
  if (wanted > share.amount()) return share.Grow(wanted - share.amount());
  share.Shrink(share.amount() - wanted);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> RelayedConnection::Begin() {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) != 0) {
    return PosixError(errno, "make a connection to gRPC");
  }
  server_.reset(pair[0]);
  UniqueFd grpcs(pair[1]);
  (void)::setsockopt(grpcs.get(), SOL_SOCKET, SO_SNDBUF, &kServerBufferBytes,
                     sizeof(kServerBufferBytes));
  return grpcs;
}

void RelayedConnection::OnClientEvents(uint32_t events) {
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) ended_ = true;  // there is nobody for an answer
  if ((events & (EPOLLIN | EPOLLRDHUP)) != 0) client_readable_ = true;
  if ((events & EPOLLOUT) != 0) client_writable_ = true;
}

void RelayedConnection::OnServerEvents(uint32_t events) {
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) server_readable_ = true;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) server_hung_up_ = true;
  if ((events & EPOLLOUT) != 0 && unread_) (void)StillUnread();
}

bool RelayedConnection::StillUnread() {
  int bytes = 0;
  unread_ = ::ioctl(server_.get(), SIOCOUTQ, &bytes) == 0 && bytes > kEmptyQueueBytes;
  return unread_;
}

bool RelayedConnection::HasAnswers() const {
  return !ended_ && client_writable_ && (server_readable_ || !answers_.empty());
}

void RelayedConnection::MoveAnswers() {
  std::array<char, kAnswerBytesMax> part;
  absl::string_view bytes = answers_;
  if (bytes.empty() && !server_ended_) {
    const ssize_t count = ::recv(server_.get(), part.data(), part.size(), MSG_DONTWAIT);
    if (count < 0 && WouldBlock()) {
      server_readable_ = false;
      return;
    }
    if (count <= 0) server_ended_ = true;
    if (count > 0) {
      bytes = absl::string_view(part.data(), static_cast<size_t>(count));
      frames_.ReadAnswers(bytes);
      (void)CountStreams();  // no more than before
    }
  }
  if (!bytes.empty()) {
    const ssize_t written = WriteSome(client_.get(), bytes);
    if (written < 0) return End();
    bytes.remove_prefix(static_cast<size_t>(written));
    client_writable_ = bytes.empty();
  }
  answers_ = std::string(bytes);
  if (server_ended_ && answers_.empty()) ended_ = true;
}

bool RelayedConnection::HasRequests() const {
  if (ended_ || client_ended_ || unread_ || !answers_.empty()) return false;
  return client_readable_ || !requests_.empty();
}

absl::Status RelayedConnection::Check(absl::string_view part) {
  RETURN_IF_ERROR(frames_.Read(part));
  return CountStreams();
}

absl::Status RelayedConnection::CountStreams() {
  RETURN_IF_ERROR(SetTo(Beyond(kFreeUnfinished, frames_.unfinished()), unfinished_));
  return SetTo(Beyond(kFreeStreams, frames_.open_cost()), streams_);
}

absl::Status RelayedConnection::MoveRequests(std::vector<UniqueFd>& strays) {
  if (requests_.empty()) {
    std::array<char, kRequestBytesMax> part;
    const ssize_t count = ReceiveBytes(client_.get(), absl::MakeSpan(part), strays);
    if (count < 0 && WouldBlock()) {
      client_readable_ = false;
      return absl::OkStatus();
    }
    if (count <= 0 && strays.empty()) {
      client_ended_ = true;
      (void)::shutdown(server_.get(), SHUT_WR);
      return absl::OkStatus();
    }
    requests_.assign(part.data(), static_cast<size_t>(std::max<ssize_t>(count, 0)));
    absl::Status allowed = strays.empty()
                               ? Check(requests_)
                               : absl::InvalidArgumentError("a client sends descriptors");
    if (!allowed.ok()) {
      End();
      return allowed;
    }
  }
  const ssize_t written = WriteSome(server_.get(), requests_);
  // What gRPC wrote before it closed is still to be read.
  if (written < 0) client_ended_ = server_readable_ = true;
  requests_.erase(0, written < 0 ? requests_.size() : static_cast<size_t>(written));
  unread_ = written >= 0;
  return absl::OkStatus();
}

}  // namespace weightd
