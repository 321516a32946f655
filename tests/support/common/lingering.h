#ifndef WEIGHTD_TESTS_SUPPORT_COMMON_LINGERING_H_
#define WEIGHTD_TESTS_SUPPORT_COMMON_LINGERING_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <utility>

#include "common/unique_fd.h"
#include "gtest/gtest.h"

namespace weightd::testing {

// A descriptor whose last close takes `seconds`, or as long as nobody calls Release(): a TCP
// connection that lingers (socket(7), SO_LINGER), since its peer does not read.
class Lingering {
 public:
  explicit Lingering(int seconds = 600) {
    const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener.get(), any, bytes), 0);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    EXPECT_EQ(::getsockname(listener.get(), any, &bytes), 0);
    socket_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket_.get(), any, bytes), 0);
    peer_.reset(::accept(listener.get(), nullptr, nullptr));
    const linger option = {.l_onoff = 1, .l_linger = seconds};
    EXPECT_EQ(::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &option, sizeof(option)), 0);
    const std::string part(65536, 'x');
    while (::send(socket_.get(), part.data(), part.size(), MSG_DONTWAIT) > 0) continue;
  }
  UniqueFd Take() { return std::move(socket_); }
  void Release() { peer_.reset(); }

 private:
  UniqueFd socket_;
  UniqueFd peer_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_COMMON_LINGERING_H_
