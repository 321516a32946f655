#include "common/detached_closer.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "common/fd_passing.h"
#include "gtest/gtest.h"
#include "tests/support/common/lingering.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/wait_until.h"

namespace weightd {
namespace {

using testing::Lingering;
using testing::WaitUntil;

// A pipe tells by EOF that its other end is closed.
struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    reader.reset(ends[0]);
    writer.reset(ends[1]);
  }
  bool OtherEndIsClosed() const {
    char byte = 0;
    return ::read(reader.get(), &byte, 1) == 0;
  }
  UniqueFd reader;
  UniqueFd writer;
};

void Close(DetachedCloser& closer, UniqueFd descriptor, uint32_t uid) {
  std::vector<UniqueFd> one;
  one.push_back(std::move(descriptor));
  closer.Close(std::move(one), uid);
}

TEST(DetachedCloserTest, ClosesWhatItIsGiven) {
  DetachedCloser closer;
  Pipe pipe;
  Close(closer, std::move(pipe.writer), 1);
  EXPECT_TRUE(WaitUntil([&] { return pipe.OtherEndIsClosed(); }));
  EXPECT_EQ(closer.waiting(), 0);
  EXPECT_FALSE(closer.full());
}

// No thread: as if all hung.
TEST(DetachedCloserTest, WhatWaitsStaysOpenAndIsBounded) {
  DetachedCloser closer({.threads_max = 0, .waiting_max = 2});
  Pipe pipe;
  Close(closer, std::move(pipe.writer), 1);
  EXPECT_FALSE(closer.full());
  Close(closer, UniqueFd(::dup(STDERR_FILENO)), 2);
  EXPECT_TRUE(closer.full());
  EXPECT_EQ(closer.waiting(), 2);
  EXPECT_FALSE(pipe.OtherEndIsClosed());
}

// What one user sent hangs: another's is closed, and that user alone is refused.
TEST(DetachedCloserTest, OneUsersDescriptorsDoNotHoldUpAnothers) {
  DetachedCloser closer(
      {.threads_max = 4, .threads_per_uid_max = 2, .waiting_max = 1000, .waiting_per_uid_max = 3});
  std::vector<Lingering> lingering(5);
  for (Lingering& one : lingering) Close(closer, one.Take(), 7);
  EXPECT_TRUE(WaitUntil([&] { return closer.waiting() == 3; }));
  EXPECT_TRUE(closer.full(7));
  EXPECT_FALSE(closer.full(8));
  EXPECT_FALSE(closer.full());
  for (int i = 0; i < 10; ++i) {
    Pipe pipe;
    Close(closer, std::move(pipe.writer), 8);
    EXPECT_TRUE(WaitUntil([&] { return pipe.OtherEndIsClosed(); }));
  }
  EXPECT_EQ(closer.waiting(), 3);
  for (Lingering& one : lingering) one.Release();
  EXPECT_TRUE(WaitUntil([&] { return closer.waiting() == 0; }));
  EXPECT_FALSE(closer.full(7));
}

// Without descriptors in its queue a socket is closed at once: nothing waits, though no thread is.
TEST(DetachedCloserTest, ASocketWaitsOnlyWithDescriptorsInItsQueue) {
  DetachedCloser closer({.threads_max = 0});
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    for (const bool sends : {false, true}) {
      std::array<int, 2> ends{};
      ASSERT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()), 0);
      const UniqueFd theirs(ends[1]);
      Pipe pipe;
      if (sends) {
        ASSERT_OK(SendFdMessage(theirs.get(), "x", {pipe.writer.get()}, absl::Seconds(10)));
      }
      pipe.writer.reset();
      closer.CloseSocket(UniqueFd(ends[0]), 1);
      EXPECT_EQ(::send(theirs.get(), "y", 1, MSG_NOSIGNAL), -1);
      EXPECT_EQ(pipe.OtherEndIsClosed(), !sends);
    }
  }
  EXPECT_EQ(closer.waiting(), 2);
}

}  // namespace
}  // namespace weightd
