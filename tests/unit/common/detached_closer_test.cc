#include "common/detached_closer.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "gtest/gtest.h"
#include "tests/support/process/wait_until.h"

namespace weightd {
namespace {

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

TEST(DetachedCloserTest, ClosesWhatItIsGiven) {
  DetachedCloser closer;
  Pipe pipe;
  closer.Close(std::move(pipe.writer));
  EXPECT_TRUE(WaitUntil([&] { return pipe.OtherEndIsClosed(); }));
  EXPECT_EQ(closer.waiting(), 0);
  EXPECT_FALSE(closer.full());
}

// No thread: as if all hung.
TEST(DetachedCloserTest, WhatWaitsStaysOpenAndIsBounded) {
  DetachedCloser closer({.threads_max = 0, .waiting_max = 2});
  Pipe pipe;
  closer.Close(std::move(pipe.writer));
  EXPECT_FALSE(closer.full());
  closer.Close(UniqueFd(::dup(STDERR_FILENO)));
  EXPECT_TRUE(closer.full());
  EXPECT_EQ(closer.waiting(), 2);
  EXPECT_FALSE(pipe.OtherEndIsClosed());
}

}  // namespace
}  // namespace weightd
