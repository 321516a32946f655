#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/fd_passing.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/wait_until.h"
#include "tests/unit/service/connection_relay_fixture.h"
#include "tests/unit/service/relayed_bytes.h"

namespace weightd {
namespace {

using testing::ConnectionRelayTest;
using testing::WaitUntil;

TEST_F(ConnectionRelayTest, MovesBytesBothWays) {
  Start();
  const UniqueFd client = Connect(1);
  Write(client.get(), Request());
  EXPECT_EQ(ReadBytes(AwaitedEnd(1), Request().size()), Request());
  Write(End(1), "answer");
  EXPECT_EQ(ReadBytes(client.get(), 6), "answer");
}

// Who goes before gives its share back.
TEST_F(ConnectionRelayTest, GrpcGetsWhoSaidSomething) {
  Start();
  UniqueFd silent = Connect(1);
  const UniqueFd client = Connect(2);
  Write(client.get(), Request());
  EXPECT_GE(AwaitedEnd(2), 0);
  EXPECT_EQ(End(1), -1);
  EXPECT_EQ(limits_.taken(Cost::kConnections), 2);
  silent.reset();
  EXPECT_TRUE(WaitUntil([&] { return limits_.taken(Cost::kConnections) == 1; }));
  EXPECT_EQ(begun(), 1);
}

TEST_F(ConnectionRelayTest, LargeAnswersArriveWholeThoughReadSlowly) {
  Start();
  const UniqueFd client = Connect(1);
  Write(client.get(), Request());
  const int end = AwaitedEnd(1);
  std::string sent;
  std::string got;
  for (int i = 0; i < 100; ++i) {
    sent += WriteAll(end, static_cast<char>('a' + i % 26));
    got += ReadBytes(client.get(), 1000);
  }
  EXPECT_GT(sent.size(), 1 << 20);
  got += ReadBytes(client.get(), sent.size() - got.size());
  EXPECT_TRUE(got == sent);
}

TEST_F(ConnectionRelayTest, LargeRequestsArriveWhole) {
  Start();
  const UniqueFd client = Connect(1);
  std::string sent = WriteAll(client.get(), 'a', kPreface) + "end";
  ASSERT_GT(sent.size(), 100'000);
  std::string got;
  const int end = AwaitedEnd(1);
  EXPECT_TRUE(WaitUntil([&] {
    got += ReadAll(end);
    return got.size() >= sent.size() - 3;
  }));
  Write(client.get(), "end");
  got += ReadBytes(end, 3);
  EXPECT_TRUE(got == sent);
}

TEST_F(ConnectionRelayTest, AClientThatGoesIsSeen) {
  Start();
  UniqueFd client = Connect(1);
  Write(client.get(), Request());
  const int end = AwaitedEnd(1);
  EXPECT_EQ(ReadBytes(end, Request().size()), Request());
  client.reset();
  EXPECT_TRUE(WaitUntil([&] { return AtEnd(end); }));
}

// Also one that does not take its answers, and has said more than it was listened to.
TEST_F(ConnectionRelayTest, AClientThatGoesInTheMiddleIsSeen) {
  Start();
  UniqueFd client = Connect(1);
  (void)WriteAll(client.get(), 'a', kPreface);
  const int end = AwaitedEnd(1);
  (void)WriteAll(end, 'b');
  client.reset();
  EXPECT_TRUE(WaitUntil([&] {
    (void)ReadAll(end);
    return AtEnd(end);
  }));
}

TEST_F(ConnectionRelayTest, AClientMaySayThatItSendsNothingMore) {
  Start();
  const UniqueFd client = Connect(1);
  Write(client.get(), Request());
  const int end = AwaitedEnd(1);
  ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
  EXPECT_EQ(ReadBytes(end, Request().size()), Request());
  EXPECT_TRUE(WaitUntil([&] { return AtEnd(end); }));
  Write(end, "answer");
  EXPECT_EQ(ReadBytes(client.get(), 6), "answer");
}

TEST_F(ConnectionRelayTest, TheLastAnswerArrivesBeforeTheEnd) {
  Start();
  const UniqueFd client = Connect(1);
  Write(client.get(), Request());
  const std::string answer(30'000, 'a');
  Write(AwaitedEnd(1), answer);
  CloseEnd(1);
  EXPECT_TRUE(relay_->AwaitEnd(absl::Seconds(10)));
  EXPECT_TRUE(ReadBytes(client.get(), answer.size()) == answer);
  EXPECT_TRUE(WaitUntil([&] { return AtEnd(client.get()); }));
}

TEST_F(ConnectionRelayTest, WhoDoesNotReadIsWaitedForALittle) {
  Start();
  const UniqueFd client = Connect(1);
  Write(client.get(), Request());
  const int end = AwaitedEnd(1);
  EXPECT_FALSE(relay_->AwaitEnd(absl::ZeroDuration()));
  Fill(end);  // the relay has a part that the client does not take
  CloseEnd(1);
  EXPECT_TRUE(relay_->AwaitEnd(absl::Seconds(10)));
}

// Of one uid a few have something unread; another uid's does not wait for them.
TEST_F(ConnectionRelayTest, UsersTakeTurns) {
  Start(/*unread_per_uid_max=*/2);
  std::vector<UniqueFd> clients;
  for (int32_t pid = 1; pid <= 50; ++pid) {
    clients.push_back(Connect(pid, 7));
    Write(clients.back().get(), Request());
  }
  EXPECT_TRUE(WaitUntil([&] { return begun() == 2; }));
  const UniqueFd other = Connect(100, 8);
  Write(other.get(), Request());
  EXPECT_EQ(ReadBytes(AwaitedEnd(100), Request().size()), Request());
  EXPECT_EQ(begun(), 3);
  // Each that is read makes way for one.
  size_t read = 0;
  EXPECT_TRUE(WaitUntil([&] {
    for (int32_t pid = 1; pid <= 50; ++pid) read += ReadAll(End(pid)).size();
    return read == 50 * Request().size();
  }));
}

TEST_F(ConnectionRelayTest, AConnectionThatEndsMakesWayForOne) {
  Start(/*unread_per_uid_max=*/1);
  UniqueFd first = Connect(1);
  Write(first.get(), Request());
  EXPECT_GE(AwaitedEnd(1), 0);
  UniqueFd second = Connect(2);
  Write(second.get(), Request());
  const UniqueFd third = Connect(3);
  Write(third.get(), Request());
  second.reset();
  first.reset();
  EXPECT_EQ(ReadBytes(AwaitedEnd(3), Request().size()), Request());
}

// gRPC stops to read a connection that floods it with pings: the uid's others go on.
TEST_F(ConnectionRelayTest, WhatIsNotReadForLongHoldsUpItselfAlone) {
  Start(/*unread_per_uid_max=*/1, absl::Milliseconds(5));
  const UniqueFd stuck = Connect(1);
  Write(stuck.get(), Request());
  EXPECT_GE(AwaitedEnd(1), 0);
  for (int32_t pid = 2; pid < 10; ++pid) {
    const UniqueFd client = Connect(pid);
    Write(client.get(), Request());
    EXPECT_EQ(ReadBytes(AwaitedEnd(pid), Request().size()), Request());
  }
  Write(stuck.get(), Frame("more"));
  const std::string both = Request() + Frame("more");
  EXPECT_EQ(ReadBytes(End(1), both.size()), both);
}

TEST_F(ConnectionRelayTest, TheNextPartWaitsUntilGrpcHasReadTheOneBefore) {
  Start();
  const UniqueFd client = Connect(1);
  (void)WriteAll(client.get(), 'a', kPreface);
  const int end = AwaitedEnd(1);
  // Another connection's request has gone through since.
  const UniqueFd other = Connect(2);
  Write(other.get(), Request());
  EXPECT_EQ(ReadBytes(AwaitedEnd(2), Request().size()), Request());
  std::array<char, 65536> part{};
  EXPECT_EQ(::recv(end, part.data(), part.size(), MSG_DONTWAIT | MSG_PEEK),
            static_cast<ssize_t>(RelayedConnection::kRequestBytesMax));
}

TEST_F(ConnectionRelayTest, WhoDoesNotTakeAnswersIsNotListenedTo) {
  Start();
  const UniqueFd client = Connect(1);
  Write(client.get(), Request());
  const int end = AwaitedEnd(1);
  EXPECT_EQ(ReadBytes(end, Request().size()), Request());
  Fill(end);
  Write(client.get(), Frame("more"));
  const UniqueFd other = Connect(2);
  Write(other.get(), Request());
  EXPECT_EQ(ReadBytes(AwaitedEnd(2), Request().size()), Request());
  EXPECT_EQ(ReadAll(end), "");
  (void)ReadBytes(client.get(), 200'000);
  EXPECT_EQ(ReadBytes(end, Frame("more").size()), Frame("more"));
}

TEST_F(ConnectionRelayTest, BeginsNothingOnceItStopped) {
  Start();
  const UniqueFd silent = Connect(1);
  const UniqueFd client = Connect(2);
  Write(client.get(), Request());
  EXPECT_GE(AwaitedEnd(2), 0);
  relay_->StopBeginning();
  EXPECT_TRUE(WaitUntil([&] { return AtEnd(silent.get()); }));
  const UniqueFd late = Connect(3);
  EXPECT_TRUE(WaitUntil([&] { return AtEnd(late.get()); }));
  EXPECT_EQ(begun(), 1);
  Write(End(2), "answer");
  EXPECT_EQ(ReadBytes(client.get(), 6), "answer");
}

TEST_F(ConnectionRelayTest, EndsWithConnectionsOfAllKinds) {
  Start();
  const UniqueFd silent = Connect(1);
  const UniqueFd client = Connect(2);
  (void)WriteAll(client.get(), 'a', kPreface);
  EXPECT_GE(AwaitedEnd(2), 0);
  (void)WriteAll(End(2), 'a');
  relay_.reset();
  EXPECT_TRUE(WaitUntil([&] { return AtEnd(silent.get()); }));
  EXPECT_EQ(limits_.taken(Cost::kConnections), 1);  // what gRPC's connection has
}

TEST_F(ConnectionRelayTest, ManyComeAndGo) {
  Start(/*unread_per_uid_max=*/2, absl::Milliseconds(5));  // they are read in another order
  for (int32_t round = 0; round < 20; ++round) {
    std::vector<UniqueFd> clients;
    for (int32_t pid = 1; pid <= 50; ++pid) {
      clients.push_back(Connect(pid, static_cast<uint32_t>(pid % 5)));
      if (pid % 3 != 0) Write(clients.back().get(), kPreface + Frame(absl::StrCat(pid)));
    }
    for (int32_t pid = 1; pid <= 50; ++pid) {
      if (pid % 3 == 0) continue;
      const std::string request = kPreface + Frame(absl::StrCat(pid));
      EXPECT_EQ(ReadBytes(AwaitedEnd(pid), request.size()), request);
      if (pid % 2 == 0) CloseEnd(pid);
    }
    clients.clear();
    absl::MutexLock lock(&mu_);
    ends_.clear();
    shares_.clear();
  }
  EXPECT_TRUE(relay_->AwaitEnd(absl::Seconds(10)));
  EXPECT_TRUE(WaitUntil([&] { return limits_.taken(Cost::kConnections) == 0; }));
}

}  // namespace
}  // namespace weightd
