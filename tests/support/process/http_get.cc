#include "tests/support/process/http_get.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/unique_fd.h"

namespace weightd::testing {

absl::StatusOr<UniqueFd> ConnectToPort(int port) {
  UniqueFd connection(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
      0) {
    return PosixError(errno, absl::StrCat("connect to port ", port));
  }
  return connection;
}

absl::StatusOr<std::string> HttpGet(int port, const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd connection, ConnectToPort(port));
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  if (::send(connection.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return PosixError(errno, "send a request");
  }
  std::string answer;
  std::array<char, 4096> part{};
  while (true) {
    const ssize_t count = ::read(connection.get(), part.data(), part.size());
    if (count < 0) return PosixError(errno, "read an answer");
    if (count == 0) break;
    answer.append(part.data(), static_cast<size_t>(count));
  }
  const size_t head_end = answer.find("\r\n\r\n");
  if (!absl::StartsWith(answer, "HTTP/1.1 200") || head_end == std::string::npos) {
    return absl::UnknownError(absl::StrCat("GET ", path, ": ", answer.substr(0, 200)));
  }
  return answer.substr(head_end + 4);
}

}  // namespace weightd::testing
