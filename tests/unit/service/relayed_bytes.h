#ifndef WEIGHTD_TESTS_UNIT_SERVICE_RELAYED_BYTES_H_
#define WEIGHTD_TESTS_UNIT_SERVICE_RELAYED_BYTES_H_

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/process/wait_until.h"

// What tests write to sockets and read from them, of which one end is gRPC's, or its client's.

namespace weightd {

// What is there, all of it; nothing for no such descriptor.
inline std::string ReadAll(int fd) {
  std::string all;
  std::array<char, 65536> part{};
  while (true) {
    const ssize_t count = ::recv(fd, part.data(), part.size(), MSG_DONTWAIT);
    if (count <= 0) return all;
    all.append(part.data(), static_cast<size_t>(count));
  }
}

// Until `bytes` are there.
inline std::string ReadBytes(int fd, size_t bytes) {
  std::string all;
  EXPECT_TRUE(testing::WaitUntil([&] {
    all += ReadAll(fd);
    return all.size() >= bytes;
  })) << all.size();
  return all;
}

inline void Write(int fd, const std::string& bytes) {
  ASSERT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
}

inline constexpr const char* kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Of HTTP/2, of a type that nobody knows.
inline std::string Frame(const std::string& payload) {
  std::string frame(9, '\0');
  frame[1] = static_cast<char>(payload.size() >> 8);
  frame[2] = static_cast<char>(payload.size());
  frame[3] = '\xfa';
  return frame + payload;
}
inline const std::string& Request() {
  static const std::string* const kRequest = new std::string(kPreface + Frame("request"));
  return *kRequest;
}

// As many as it takes.
inline std::string WriteAll(int fd, char byte, const std::string& first = "") {
  std::string part = first.empty() ? std::string(4096, byte) : first;
  std::string all;
  while (true) {
    const ssize_t count = ::send(fd, part.data(), part.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count <= 0) return all;
    all.append(part, 0, static_cast<size_t>(count));
    if (!first.empty()) part = Frame(std::string(4000, byte));
  }
}

// Until nobody takes more.
inline void Fill(int fd) {
  EXPECT_TRUE(testing::WaitUntil([&] {
    (void)WriteAll(fd, 'a');
    pollfd full{.fd = fd, .events = POLLOUT, .revents = 0};
    return ::poll(&full, 1, 100) == 0;
  }));
}

inline bool AtEnd(int fd) {
  char byte = 0;
  return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

}  // namespace weightd

#endif  // WEIGHTD_TESTS_UNIT_SERVICE_RELAYED_BYTES_H_
