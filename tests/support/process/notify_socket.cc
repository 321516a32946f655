#include "tests/support/process/notify_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/time/clock.h"

namespace weightd::testing {

NotifySocket::NotifySocket(const std::string& path)
    : path_(path), socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    throw std::runtime_error("no path of a socket: " + path);
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  const bool is_abstract = path[0] == '@';
  if (is_abstract) address.sun_path[0] = '\0';
  const size_t length = offsetof(sockaddr_un, sun_path) + path.size() + (is_abstract ? 0 : 1);
  if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address),
             static_cast<socklen_t>(length)) != 0) {
    throw std::runtime_error("cannot bind " + path);
  }
}

std::optional<std::string> NotifySocket::Next(absl::Duration timeout) const {
  pollfd entry = {.fd = socket_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) != 1) {
    return std::nullopt;
  }
  std::array<char, 4096> message{};
  const ssize_t bytes = ::recv(socket_.get(), message.data(), message.size(), 0);
  if (bytes < 0) return std::nullopt;
  return std::string(message.data(), static_cast<size_t>(bytes));
}

std::optional<std::string> NotifySocket::NextWith(absl::string_view text,
                                                  absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  while (const std::optional<std::string> message =
             Next(std::max(deadline - absl::Now(), absl::ZeroDuration()))) {
    if (absl::StrContains(*message, text)) return message;
  }
  return std::nullopt;
}

}  // namespace weightd::testing
