// How a connection becomes a peer: acceptor, credentials, registry.

#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/socket_paths.h"
#include "common/unix_socket.h"
#include "daemon/service/connection_acceptor.h"
#include "daemon/service/peer_credentials.h"
#include "daemon/service/peer_registry.h"
#include "daemon/service/socket_dir.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd {
namespace {

using testing::StatusIs;
using testing::TempDir;

UniqueFd AnyDescriptor() { return UniqueFd(::dup(STDERR_FILENO)); }

Peer PeerWithPid(int32_t pid) {
  Peer peer;
  peer.pid = pid;
  return peer;
}

std::string NameOf(const UniqueFd& fd) { return absl::StrCat("fd:", fd.get()); }

TEST(PeerCredentialsTest, ReadsOurOwnPidUidAndNamespace) {
  std::array<int, 2> pair{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()), 0);
  const UniqueFd a(pair[0]);
  const UniqueFd b(pair[1]);
  ASSERT_OK_AND_ASSIGN(const Peer peer, ReadPeer(a.get()));
  EXPECT_EQ(peer.pid, ::getpid());
  EXPECT_EQ(peer.uid, ::geteuid());
  EXPECT_EQ(peer.gid, ::getegid());
  EXPECT_TRUE(peer.same_pid_namespace);
}

TEST(PeerRegistryTest, FindsThePeerByGrpcsName) {
  PeerRegistry registry(100, 110);
  ASSERT_OK_AND_ASSIGN(const UniqueFd fd, registry.Register(AnyDescriptor(), PeerWithPid(7)));
  EXPECT_GE(fd.get(), 100);
  ASSERT_TRUE(registry.Find(NameOf(fd)).has_value());
  EXPECT_EQ(registry.Find(NameOf(fd))->pid, 7);
}

TEST(PeerRegistryTest, KnowsNoOtherNames) {
  PeerRegistry registry(100, 110);
  for (const char* name : {"", "fd:", "fd:x", "fd:100", "unix:/x", "ipv4:1.2.3.4:5", "fd:1 00"}) {
    EXPECT_FALSE(registry.Find(name).has_value()) << name;
  }
}

// A number that gRPC just closed must not pass for the next peer's.
TEST(PeerRegistryTest, UsesANumberAgainOnlyAfterAllOthers) {
  PeerRegistry registry(200, 204);
  std::vector<int> numbers;
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK_AND_ASSIGN(const UniqueFd fd, registry.Register(AnyDescriptor(), PeerWithPid(i)));
    numbers.push_back(fd.get());
  }
  EXPECT_THAT(numbers, ::testing::ElementsAre(200, 201, 202, 203, 200));
}

TEST(PeerRegistryTest, RefusesWhenTheRangeIsUsedUp) {
  PeerRegistry registry(200, 202);
  ASSERT_OK_AND_ASSIGN(const UniqueFd first, registry.Register(AnyDescriptor(), PeerWithPid(1)));
  ASSERT_OK_AND_ASSIGN(const UniqueFd second, registry.Register(AnyDescriptor(), PeerWithPid(2)));
  EXPECT_THAT(registry.Register(AnyDescriptor(), PeerWithPid(3)),
              StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
}

TEST(ConnectionAcceptorTest, HandsOverConnectionsUntilStopped) {
  const TempDir dir;
  ASSERT_OK_AND_ASSIGN(const auto sockets, SocketDir::Open(dir.File("s")));
  absl::Mutex mu;
  int accepted = 0;
  ConnectionAcceptor acceptor(sockets->rpc_listener(), [&](UniqueFd connection) {
    absl::MutexLock lock(&mu);
    accepted += connection.valid() ? 1 : 0;
  });
  for (int i = 0; i < 3; ++i) {
    EXPECT_OK(
        ConnectUnixSocket(RpcSocketPath(sockets->path()), SOCK_STREAM, absl::InfiniteFuture()));
  }
  {
    absl::MutexLock lock(&mu);
    mu.Await(absl::Condition(
        +[](int* count) { return *count == 3; }, &accepted));
  }
  acceptor.Stop();
  acceptor.Stop();  // twice is fine
}

}  // namespace
}  // namespace weightd
