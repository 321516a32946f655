#include "daemon/service/connection_relay.h"

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
#include "tests/unit/service/relayed_bytes.h"

namespace weightd {
namespace {

using testing::WaitUntil;

class ConnectionRelayTest : public ::testing::Test {
 protected:
  // By pid, which tells the connections of a test apart: gRPC's ends.
  void Start(size_t unread_per_uid_max = 2, absl::Duration unread_time = absl::InfiniteDuration()) {
    auto relay =
        ConnectionRelay::Start({.on_begin =
                                    [this](UniqueFd end, ConnectionGate::Admitted admitted) {
                                      absl::MutexLock lock(&mu_);
                                      ends_[admitted.peer.pid] = std::move(end);
                                      shares_.push_back(std::move(admitted.share));
                                    },
                                .on_refused =
                                    [this](const Peer& peer, const absl::Status& why) {
                                      absl::MutexLock lock(&mu_);
                                      refused_[peer.pid] = why;
                                    },
                                .closer = closer_,
                                .unread_per_uid_max = unread_per_uid_max,
                                .unread_time = unread_time});
    ASSERT_OK(relay);
    relay_ = *std::move(relay);
  }

  // The client's end.
  UniqueFd Connect(int32_t pid, uint32_t uid = 1) {
    std::array<int, 2> pair{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    EXPECT_EQ(::fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    ConnectionGate::Admitted admitted;
    admitted.peer.pid = pid;
    admitted.peer.uid = uid;
    auto share = limits_.Take(Cost::kConnections, {.uid = uid});
    auto streams = limits_.Take(Cost::kStreams, {.uid = uid}, 0);
    auto unfinished = limits_.Take(Cost::kUnfinishedRequests, {.uid = uid}, 0);
    EXPECT_OK(share);
    EXPECT_OK(streams);
    EXPECT_OK(unfinished);
    admitted.share = *std::move(share);
    admitted.streams = *std::move(streams);
    admitted.unfinished = *std::move(unfinished);
    relay_->Add(UniqueFd(pair[0]), std::move(admitted));
    return UniqueFd(pair[1]);
  }

  // gRPC's end of the connection; -1 when it has none.
  int End(int32_t pid) {
    absl::MutexLock lock(&mu_);
    const auto found = ends_.find(pid);
    return found == ends_.end() ? -1 : found->second.get();
  }
  int AwaitedEnd(int32_t pid) {
    EXPECT_TRUE(WaitUntil([&] { return End(pid) >= 0; })) << pid;
    return End(pid);
  }
  void CloseEnd(int32_t pid) {
    absl::MutexLock lock(&mu_);
    ends_.erase(pid);
  }
  size_t begun() {
    absl::MutexLock lock(&mu_);
    return ends_.size();
  }

  UidLimits limits_{UidLimitOptions(), 1 << 20};
  DetachedCloser closer_;
  absl::Mutex mu_;
  std::map<int32_t, UniqueFd> ends_ ABSL_GUARDED_BY(mu_);
  std::map<int32_t, absl::Status> refused_ ABSL_GUARDED_BY(mu_);
  std::vector<Share> shares_ ABSL_GUARDED_BY(mu_);
  std::unique_ptr<ConnectionRelay> relay_;  // last: its thread uses the rest
};

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

// Nobody wants them, and to close one may take for ever.
TEST_F(ConnectionRelayTest, DescriptorsEndTheConnection) {
  Start();
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const UniqueFd reader(pipe[0]);
  UniqueFd writer(pipe[1]);
  const UniqueFd client = Connect(1);
  ASSERT_OK(SendFdMessage(client.get(), "request", {writer.get()}, absl::Seconds(10)));
  EXPECT_TRUE(WaitUntil([&] { return AtEnd(client.get()); }));
  writer.reset();
  EXPECT_TRUE(WaitUntil([&] {
    char byte = 0;
    return ::read(reader.get(), &byte, 1) == 0;
  }));
}

TEST_F(ConnectionRelayTest, WhatIsNotHttp2IsEndedAndTold) {
  Start();
  const UniqueFd client = Connect(1);
  Write(client.get(), "GET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(WaitUntil([&] { return AtEnd(client.get()); }));
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(refused_[1], testing::StatusIs(absl::StatusCode::kInvalidArgument,
                                             ::testing::HasSubstr("HTTP/2")));
}

// gRPC keeps the headers of each, and ends all at once when the client goes.
TEST_F(ConnectionRelayTest, RequestsThatAreNotWholeHaveALimitOfTheirUid) {
  UidLimitOptions options;
  options.calls = {.per_uid_max = 64, .max = 100};  // 16 of these
  limits_.Set(options);
  Start();
  std::string headers = Frame("");
  headers[3] = 1;
  const auto begin = [&headers](char first, char last) {
    std::string requests;
    for (char stream = first; stream <= last; stream = static_cast<char>(stream + 2)) {
      headers[8] = stream;
      requests += headers;
    }
    return requests;
  };
  const UniqueFd one = Connect(1);
  const std::string first = kPreface + begin(1, 21);
  Write(one.get(), first);
  EXPECT_EQ(ReadBytes(AwaitedEnd(1), first.size()), first);
  const UniqueFd two = Connect(2);
  const std::string second = kPreface + begin(1, 13);
  Write(two.get(), second);
  EXPECT_EQ(ReadBytes(AwaitedEnd(2), second.size()), second);
  EXPECT_EQ(limits_.taken(Cost::kUnfinishedRequests), 16);
  std::string whole = Frame("");
  whole[3] = 0;  // DATA
  whole[4] = 1;
  whole[8] = 1;
  Write(one.get(), whole);
  EXPECT_EQ(ReadBytes(End(1), whole.size()), whole);
  EXPECT_EQ(limits_.taken(Cost::kUnfinishedRequests), 15);
  Write(two.get(), begin(15, 17));
  EXPECT_TRUE(WaitUntil([&] { return AtEnd(two.get()); }));
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(refused_[2], testing::ReasonIs(Reason::kLimitExceeded,
                                             ::testing::HasSubstr("unfinished_requests")));
}

// All but a few of each connection count, until gRPC has ended them.
TEST_F(ConnectionRelayTest, OpenCallsHaveALimit) {
  UidLimitOptions options;
  options.calls = {.per_uid_max = 1, .max = 100};
  limits_.Set(options);
  Start();
  std::string headers = Frame("");
  headers[3] = 1;
  headers[4] = 5;
  std::string requests = kPreface;
  for (char stream = 1; stream < 12; stream += 2) {
    headers[8] = stream;
    requests += headers;
  }
  const UniqueFd client = Connect(1);
  Write(client.get(), requests);
  EXPECT_EQ(ReadBytes(AwaitedEnd(1), requests.size()), requests);
  EXPECT_EQ(limits_.taken(Cost::kStreams), 2);
  Write(End(1), headers);  // the answer to one
  EXPECT_EQ(ReadBytes(client.get(), headers.size()), headers);
  EXPECT_EQ(limits_.taken(Cost::kStreams), 1);
  headers[8] = 13;
  Write(client.get(), headers);
  EXPECT_EQ(ReadBytes(End(1), headers.size()), headers);
  headers[8] = 15;
  Write(client.get(), headers);
  EXPECT_TRUE(WaitUntil([&] { return AtEnd(client.get()); }));
  EXPECT_TRUE(WaitUntil([&] { return limits_.taken(Cost::kStreams) == 0; }));
  absl::MutexLock lock(&mu_);
  EXPECT_THAT(refused_[1],
              testing::ReasonIs(Reason::kLimitExceeded, ::testing::HasSubstr("2 streams")));
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
