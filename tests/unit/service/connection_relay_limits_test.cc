// What the relay does not let through.

#include <sys/socket.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "common/fd_passing.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/wait_until.h"
#include "tests/unit/service/connection_relay_fixture.h"
#include "tests/unit/service/relayed_bytes.h"

namespace weightd {
namespace {

using testing::ConnectionRelayTest;
using testing::WaitUntil;

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

}  // namespace
}  // namespace weightd
