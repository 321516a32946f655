#include "daemon/service/tcp_listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr int kBacklog = 512;

absl::StatusOr<uint16_t> ParsePort(absl::string_view text) {
  uint32_t port = 0;
  if (text.empty() || !std::all_of(text.begin(), text.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(text, &port) || port > std::numeric_limits<uint16_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is no port, which is a number from 0 to 65535"));
  }
  return static_cast<uint16_t>(port);
}

absl::StatusOr<UniqueFd> Listen(const addrinfo& at) {
  UniqueFd socket(::socket(at.ai_family, at.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return PosixError(errno, "make a socket");
  const int on = 1;
  // Without it a daemon that starts again would wait for connections of the one before.
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
    return PosixError(errno, "have the address used again");
  }
  if (at.ai_family == AF_INET6 &&
      ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) {
    return PosixError(errno, "have IPv6 alone");
  }
  if (::bind(socket.get(), at.ai_addr, at.ai_addrlen) != 0) return PosixError(errno, "bind");
  if (::listen(socket.get(), kBacklog) != 0) return PosixError(errno, "listen");
  return socket;
}

}  // namespace

absl::StatusOr<TcpAddress> ParseTcpAddress(absl::string_view text) {
  TcpAddress address;
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) {
    ASSIGN_OR_RETURN(address.port, ParsePort(text));
    return address;
  }
  absl::string_view host = text.substr(0, colon);
  const bool brackets = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  if (host.empty()) return absl::InvalidArgumentError("there is no host before the colon");
  if (!brackets && absl::StrContains(host, ':')) {
    return absl::InvalidArgumentError("an IPv6 host is in brackets, [HOST]:PORT");
  }
  address.host = std::string(host);
  ASSIGN_OR_RETURN(address.port, ParsePort(text.substr(colon + 1)));
  return address;
}

absl::StatusOr<UniqueFd> ListenOnTcp(absl::string_view address) {
  ASSIGN_OR_RETURN(const TcpAddress parsed, ParseTcpAddress(address));
  addrinfo hints{};
  hints.ai_family = parsed.host.empty() ? AF_INET : AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* raw = nullptr;
  const int looked_up = ::getaddrinfo(parsed.host.empty() ? nullptr : parsed.host.c_str(),
                                      absl::StrCat(parsed.port).c_str(), &hints, &raw);
  if (looked_up != 0) {
    return absl::UnavailableError(
        absl::StrCat("look up host ", parsed.host, ": ", ::gai_strerror(looked_up)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> found(raw, &::freeaddrinfo);
  absl::StatusOr<UniqueFd> socket = absl::UnavailableError("the host has no address");
  for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) {
    socket = Listen(*at);
    if (socket.ok()) break;
  }
  return socket;
}

int PortOf(int socket) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  WEIGHTD_CHECK(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &bytes) == 0);
  const in_port_t port = address.ss_family == AF_INET6
                             ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                             : reinterpret_cast<const sockaddr_in&>(address).sin_port;
  return ntohs(port);
}

}  // namespace weightd
