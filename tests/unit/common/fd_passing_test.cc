#include "common/fd_passing.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(30);

class FdPassingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> fds{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()), 0);
    left_.reset(fds[0]);
    right_.reset(fds[1]);
  }

  UniqueFd left_;
  UniqueFd right_;
};

ino_t Inode(int fd) {
  struct stat facts = {};
  EXPECT_EQ(::fstat(fd, &facts), 0);
  return facts.st_ino;
}

TEST_F(FdPassingTest, PassesBytesAndDescriptors) {
  const UniqueFd first(::memfd_create("first", MFD_CLOEXEC));
  const UniqueFd second(::memfd_create("second", MFD_CLOEXEC));
  ASSERT_OK(SendFdMessage(left_.get(), std::string("a\0b", 3), {first.get(), second.get()}, kLong));
  ASSERT_OK_AND_ASSIGN(const FdMessage message, ReceiveFdMessage(right_.get(), kLong));
  EXPECT_EQ(message.bytes, std::string("a\0b", 3));
  ASSERT_EQ(message.fds.size(), 2u);
  EXPECT_EQ(Inode(message.fds[0].get()), Inode(first.get()));
  EXPECT_EQ(Inode(message.fds[1].get()), Inode(second.get()));
  EXPECT_NE(::fcntl(message.fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(FdPassingTest, PassesAMessageWithoutDescriptors) {
  ASSERT_OK(SendFdMessage(left_.get(), "x", {}, kLong));
  ASSERT_OK_AND_ASSIGN(const FdMessage message, ReceiveFdMessage(right_.get(), kLong));
  EXPECT_EQ(message.bytes, "x");
  EXPECT_TRUE(message.fds.empty());
}

// A descriptor that came is nobody's: its file is closed.
TEST_F(FdPassingTest, PlainMessageTakesNoDescriptors) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd out(ends[0]);
  UniqueFd in(ends[1]);
  ASSERT_OK(SendFdMessage(left_.get(), "x", {in.get()}, kLong));
  in.reset();
  ASSERT_OK_AND_ASSIGN(const std::string message, ReceivePlainMessage(right_.get(), kLong));
  EXPECT_EQ(message, "x");
  char byte = 0;
  EXPECT_EQ(::read(out.get(), &byte, 1), 0);
  EXPECT_THAT(ReceivePlainMessage(right_.get(), absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, ::testing::_));
}

TEST_F(FdPassingTest, OfDescriptorsBeyondWhatIsWantedNoneIsTaken) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd out(ends[0]);
  UniqueFd in(ends[1]);
  const UniqueFd wanted(::memfd_create("one", MFD_CLOEXEC));
  for (const bool is_one : {true, false}) {
    const std::vector<int> sent =
        is_one ? std::vector<int>{wanted.get()} : std::vector<int>{wanted.get(), in.get()};
    ASSERT_OK(SendFdMessage(left_.get(), "x", sent, kLong));
    std::vector<UniqueFd> fds;
    const auto received = ReceiveMessage(right_.get(), kLong, fds, /*fds_max=*/1);
    EXPECT_EQ(received.ok(), is_one) << received.status();
    EXPECT_EQ(fds.size(), 1);
  }
  in.reset();
  char byte = 0;
  EXPECT_EQ(::read(out.get(), &byte, 1), 0) << "nobody else has it";
}

TEST_F(FdPassingTest, PassesTheLargestMessage) {
  const UniqueFd fd(::memfd_create("one", MFD_CLOEXEC));
  const std::vector<int> fds(kFdsPerMessageMax, fd.get());
  const std::string bytes(kFdMessageBytesMax, 'x');
  ASSERT_OK(SendFdMessage(left_.get(), bytes, fds, kLong));
  ASSERT_OK_AND_ASSIGN(const FdMessage message, ReceiveFdMessage(right_.get(), kLong));
  EXPECT_EQ(message.bytes, bytes);
  EXPECT_EQ(message.fds.size(), kFdsPerMessageMax);
}

TEST_F(FdPassingTest, RefusesToSendBeyondTheLimits) {
  const std::vector<int> fds(kFdsPerMessageMax + 1, left_.get());
  EXPECT_THAT(SendFdMessage(left_.get(), "x", fds, kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("254 descriptors")));
  EXPECT_THAT(SendFdMessage(left_.get(), std::string(kFdMessageBytesMax + 1, 'x'), {}, kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4097 bytes")));
  EXPECT_THAT(SendFdMessage(left_.get(), "", {}, kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 bytes")));
}

TEST_F(FdPassingTest, RefusesAReceivedMessageBeyondTheLimits) {
  const std::string bytes(kFdMessageBytesMax + 2, 'x');
  ASSERT_EQ(::send(left_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  EXPECT_THAT(ReceiveFdMessage(right_.get(), kLong),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("longer than 4096 bytes")));
}

TEST_F(FdPassingTest, TimesOutWithoutAMessage) {
  EXPECT_THAT(ReceiveFdMessage(right_.get(), absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("receive")));
}

TEST_F(FdPassingTest, TimesOutWhenThePeerDoesNotRead) {
  const std::string bytes(kFdMessageBytesMax, 'x');
  absl::Status status;
  for (int i = 0; i < 10'000 && status.ok(); ++i) {
    status = SendFdMessage(left_.get(), bytes, {}, absl::Milliseconds(1));
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("send")));
}

TEST_F(FdPassingTest, SaysThatThePeerIsGone) {
  right_.reset();
  EXPECT_THAT(SendFdMessage(left_.get(), "x", {}, kLong),
              StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  EXPECT_THAT(ReceiveFdMessage(left_.get(), kLong),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("closed")));
}

TEST_F(FdPassingTest, ReceivesWhatAPeerSentBeforeItClosed) {
  ASSERT_OK(SendFdMessage(left_.get(), "last", {}, kLong));
  left_.reset();
  ASSERT_OK_AND_ASSIGN(const FdMessage message, ReceiveFdMessage(right_.get(), kLong));
  EXPECT_EQ(message.bytes, "last");
}

}  // namespace
}  // namespace weightd::testing
