#ifndef WEIGHTD_DAEMON_SERVICE_TCP_LISTENER_H_
#define WEIGHTD_DAEMON_SERVICE_TCP_LISTENER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/unique_fd.h"

// Where the network may connect. Thread-safe.

namespace weightd {

struct TcpAddress {
  std::string host;  // without brackets; empty: every IPv4 address of this machine
  uint16_t port = 0;
};

// PORT or HOST:PORT, an IPv6 host in brackets. INVALID_ARGUMENT with what is wrong, for anything
// else.
absl::StatusOr<TcpAddress> ParseTcpAddress(absl::string_view text);

// A non-blocking, close-on-exec socket that listens at `address`, as ParseTcpAddress() has it; port
// 0 takes one that is free, and an IPv6 host gets no IPv4 connections. A name is looked up, for as
// long as that takes. INVALID_ARGUMENT, or what the system says.
absl::StatusOr<UniqueFd> ListenOnTcp(absl::string_view address);

// Of a TCP socket of ours.
int PortOf(int socket);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_TCP_LISTENER_H_
