// How a connection becomes a peer: acceptor, credentials, gate.

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/socket_paths.h"
#include "common/unix_socket.h"
#include "daemon/service/connection_acceptor.h"
#include "daemon/service/connection_gate.h"
#include "daemon/service/peer_credentials.h"
#include "daemon/service/socket_dir.h"
#include "tests/support/common/fake_clock.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/process/wait_until.h"

namespace weightd {
namespace {

using testing::FakeClock;
using ::testing::HasSubstr;
using testing::ReasonIs;
using testing::TempDir;
using testing::WaitUntil;

struct SocketPair {
  SocketPair() {
    std::array<int, 2> pair{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    ours.reset(pair[0]);
    theirs.reset(pair[1]);
  }
  UniqueFd ours;
  UniqueFd theirs;
};

TEST(PeerCredentialsTest, ReadsOurOwnPidUidAndNamespace) {
  const SocketPair pair;
  ASSERT_OK_AND_ASSIGN(const Peer peer, ReadPeer(pair.ours.get()));
  EXPECT_EQ(peer.pid, ::getpid());
  EXPECT_EQ(peer.uid, ::geteuid());
  EXPECT_EQ(peer.gid, ::getegid());
  EXPECT_TRUE(peer.same_pid_namespace);
}

AccessOptions NobodyListed() { return {}; }

AccessOptions WeMayAttach() {
  AccessOptions access;
  access.attach_uids = {static_cast<uint32_t>(::geteuid())};
  return access;
}

UidLimitOptions ConnectionsOf(uint64_t per_uid_max) {
  UidLimitOptions options;
  options.connections = {.per_uid_max = per_uid_max, .max = 100};
  return options;
}

class ConnectionGateTest : public ::testing::Test {
 protected:
  const SocketPair pair_;
  const Peer peer_ = *ReadPeer(pair_.ours.get());
  FakeClock clock_;
  std::vector<ConnectionGate::Refused> told_;
  ConnectionGate::OnRefused Tell() {
    return [this](const ConnectionGate::Refused& refused) { told_.push_back(refused); };
  }
};

TEST_F(ConnectionGateTest, RefusesWhomNoListNames) {
  const AccessList access(NobodyListed());
  UidLimits limits(ConnectionsOf(1), 1000);
  ConnectionGate gate(access, limits, clock_, Tell());
  EXPECT_THAT(gate.Admit(peer_, Cost::kConnections),
              ReasonIs(Reason::kPermissionDenied, HasSubstr("may not attach")));
  EXPECT_EQ(limits.taken(Cost::kConnections), 0);
  EXPECT_TRUE(told_.empty());
}

TEST_F(ConnectionGateTest, CountsConnectionsOfAUidWhileTheyAreThere) {
  const AccessList access(WeMayAttach());
  UidLimits limits(ConnectionsOf(1), 1000);
  ConnectionGate gate(access, limits, clock_, Tell());
  {
    ASSERT_OK_AND_ASSIGN(const auto admitted, gate.Admit(peer_, Cost::kConnections));
    EXPECT_EQ(admitted.peer.pid, ::getpid());
    EXPECT_THAT(gate.Admit(peer_, Cost::kConnections),
                ReasonIs(Reason::kLimitExceeded, HasSubstr("limits.connections_per_uid_max")));
    EXPECT_THAT(gate.CheckRpc(admitted.peer), ReasonIs(Reason::kLimitExceeded, HasSubstr("1")));
    EXPECT_OK(gate.Admit(peer_, Cost::kHandleConnections));  // counted apart
  }
  EXPECT_OK(gate.Admit(peer_, Cost::kConnections));
}

TEST_F(ConnectionGateTest, LooksForRoomBeforeItRefuses) {
  const AccessList access(WeMayAttach());
  UidLimits limits(ConnectionsOf(1), 1000);
  ConnectionGate gate(access, limits, clock_, Tell());
  ASSERT_OK_AND_ASSIGN(auto admitted, gate.Admit(peer_, Cost::kConnections));
  EXPECT_OK(gate.Admit(peer_, Cost::kConnections, [&] { admitted.share.Release(); }));
  EXPECT_EQ(limits.refusals(Cost::kConnections), 0);
}

TEST_F(ConnectionGateTest, TellsOfRefusalsNowAndThen) {
  const AccessList access(WeMayAttach());
  UidLimits limits(ConnectionsOf(1), 1000);
  ConnectionGate gate(access, limits, clock_, Tell());
  ASSERT_OK_AND_ASSIGN(const auto admitted, gate.Admit(peer_, Cost::kConnections));
  const auto refuse = [&](int times) {
    for (int i = 0; i < times; ++i) {
      EXPECT_FALSE(gate.Admit(peer_, Cost::kConnections).ok());
    }
  };
  refuse(5);
  ASSERT_EQ(told_.size(), 1);
  EXPECT_EQ(told_[0].unsaid, 0);
  EXPECT_EQ(told_[0].peer.uid, ::geteuid());
  clock_.Advance(absl::Seconds(10));
  refuse(1);
  ASSERT_EQ(told_.size(), 2);
  EXPECT_EQ(told_[1].unsaid, 4);
}

absl::StatusOr<UniqueFd> Connect(const SocketDir& sockets) {
  return ConnectUnixSocket(RpcSocketPath(sockets.path()), SOCK_STREAM, absl::InfiniteFuture());
}

// Who connects and closes again and again has a place in the queue for as long as that takes.
TEST(ConnectionAcceptorTest, HandsOverNothingThatIsOverAlready) {
  const TempDir dir;
  ASSERT_OK_AND_ASSIGN(const auto sockets, SocketDir::Open(dir.File("s")));
  if (!RefusesDescriptors(sockets->rpc_listener())) GTEST_SKIP() << "a kernel before 6.16";
  for (int i = 0; i < 100; ++i) ASSERT_OK(Connect(*sockets));
  ASSERT_OK_AND_ASSIGN(const UniqueFd client, Connect(*sockets));
  std::atomic<int> accepted = 0;
  ASSERT_OK_AND_ASSIGN(const auto acceptor,
                       ConnectionAcceptor::Start({.name = "accept",
                                                  .listener = sockets->rpc_listener(),
                                                  .on_connection = [&](UniqueFd) { ++accepted; }}));
  EXPECT_TRUE(WaitUntil([&] { return accepted.load() == 1; }));
}

TEST(ConnectionAcceptorTest, HandsOverConnectionsUntilStopped) {
  const TempDir dir;
  ASSERT_OK_AND_ASSIGN(const auto sockets, SocketDir::Open(dir.File("s")));
  absl::Mutex mu;
  int accepted = 0;
  ASSERT_OK_AND_ASSIGN(const auto acceptor,
                       ConnectionAcceptor::Start({.name = "accept",
                                                  .listener = sockets->rpc_listener(),
                                                  .on_connection = [&](UniqueFd connection) {
                                                    absl::MutexLock lock(&mu);
                                                    accepted += connection.valid() ? 1 : 0;
                                                  }}));
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 3; ++i) {
    ASSERT_OK_AND_ASSIGN(UniqueFd client, Connect(*sockets));
    clients.push_back(std::move(client));
  }
  {
    absl::MutexLock lock(&mu);
    mu.Await(absl::Condition(
        +[](int* count) { return *count == 3; }, &accepted));
  }
  acceptor->Stop();
  acceptor->Stop();  // twice is fine
}

TEST(ConnectionAcceptorTest, AcceptsNothingWhileItMayNot) {
  const TempDir dir;
  ASSERT_OK_AND_ASSIGN(const auto sockets, SocketDir::Open(dir.File("s")));
  std::atomic<bool> may = false;
  std::atomic<int> asked = 0;
  std::atomic<int> accepted = 0;
  ASSERT_OK_AND_ASSIGN(const auto acceptor,
                       ConnectionAcceptor::Start({.name = "accept",
                                                  .listener = sockets->rpc_listener(),
                                                  .on_connection = [&](UniqueFd) { ++accepted; },
                                                  .may_accept =
                                                      [&] {
                                                        ++asked;
                                                        return may.load();
                                                      }}));
  ASSERT_OK_AND_ASSIGN(const UniqueFd client, Connect(*sockets));
  EXPECT_TRUE(WaitUntil([&] { return asked.load() >= 2; }));
  EXPECT_EQ(accepted.load(), 0);
  may.store(true);
  EXPECT_TRUE(WaitUntil([&] { return accepted.load() == 1; }));
}

}  // namespace
}  // namespace weightd
