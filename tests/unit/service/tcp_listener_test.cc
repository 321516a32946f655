#include "daemon/service/tcp_listener.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/http_get.h"

namespace weightd {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

TEST(TcpAddressTest, HostAndPort) {
  struct Case {
    const char* text;
    const char* host;
    int port;
  };
  for (const Case& is : {Case{"9464", "", 9464}, Case{"0", "", 0}, Case{"65535", "", 65535},
                         Case{"127.0.0.1:9464", "127.0.0.1", 9464}, Case{"[::1]:0", "::1", 0},
                         Case{"localhost:80", "localhost", 80}, Case{"[::]:1", "::", 1}}) {
    const absl::StatusOr<TcpAddress> address = ParseTcpAddress(is.text);
    ASSERT_OK(address) << is.text;
    EXPECT_EQ(address->host, is.host);
    EXPECT_EQ(address->port, is.port);
  }
}

TEST(TcpAddressTest, WhatIsWrongIsSaid) {
  struct Case {
    const char* text;
    const char* why;
  };
  for (const Case& is :
       {Case{"", "\"\" is no port"}, Case{"nonsense", "\"nonsense\" is no port"},
        Case{"127.0.0.1:99999", "\"99999\" is no port"}, Case{"127.0.0.1:65536", "from 0 to 65535"},
        Case{"127.0.0.1:", "is no port"}, Case{"127.0.0.1:-1", "is no port"},
        Case{"127.0.0.1:+1", "is no port"}, Case{"127.0.0.1: 1", "is no port"},
        Case{"127.0.0.1:9464s", "is no port"}, Case{"1,2", "is no port"}, Case{":9464", "no host"},
        Case{"[]:9464", "no host"}, Case{"::1:9464", "in brackets"},
        Case{"[::1:9464", "in brackets"}}) {
    EXPECT_THAT(ParseTcpAddress(is.text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(is.why)))
        << is.text;
  }
}

int FamilyOf(int socket) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  return address.ss_family;
}

TEST(TcpListenerTest, ListensThere) {
  for (const char* address : {"0", "127.0.0.1:0", "localhost:0"}) {
    const absl::StatusOr<UniqueFd> listener = ListenOnTcp(address);
    ASSERT_OK(listener) << address;
    const int port = PortOf(listener->get());
    EXPECT_GT(port, 0);
    if (FamilyOf(listener->get()) != AF_INET) continue;
    EXPECT_OK(testing::ConnectToPort(port)) << address;
  }
}

TEST(TcpListenerTest, ListensOnIpv6Alone) {
  const absl::StatusOr<UniqueFd> listener = ListenOnTcp("[::1]:0");
  if (!listener.ok()) GTEST_SKIP() << "no IPv6 here: " << listener.status();
  const int port = PortOf(listener->get());
  EXPECT_EQ(FamilyOf(listener->get()), AF_INET6);
  EXPECT_GT(port, 0);
  EXPECT_FALSE(testing::ConnectToPort(port).ok());
}

TEST(TcpListenerTest, WhatCannotBeHadIsTheSystemsError) {
  const absl::StatusOr<UniqueFd> first = ListenOnTcp("127.0.0.1:0");
  ASSERT_OK(first);
  EXPECT_THAT(ListenOnTcp(absl::StrCat("127.0.0.1:", PortOf(first->get()))),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("in use")));
  EXPECT_FALSE(ListenOnTcp("192.0.2.1:0").ok()) << "not of this machine";
  EXPECT_FALSE(ListenOnTcp("no.such.host.invalid:0").ok());
}

}  // namespace
}  // namespace weightd
