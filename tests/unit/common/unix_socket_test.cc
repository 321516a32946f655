#include "common/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "common/fd_passing.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<UniqueFd> Connect(const std::string& path) {
  return ConnectUnixSocket(path, SOCK_SEQPACKET, absl::InfiniteFuture());
}

TEST(UnixSocketTest, ConnectsToWhatListens) {
  const TempDir dir;
  const std::string path = dir.File("socket");
  ASSERT_OK_AND_ASSIGN(const UniqueFd listener, BindUnixSocket(path, SOCK_SEQPACKET));
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_OK_AND_ASSIGN(const UniqueFd connection, Connect(path));
  EXPECT_NE(::fcntl(connection.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(::fcntl(connection.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(UnixSocketTest, TellsWhyItCannotConnect) {
  const TempDir dir;
  EXPECT_THAT(Connect(dir.File("none")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(dir.File("none"))));
  EXPECT_THAT(Connect(std::string(200, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 107 fit")));
  const std::string path = dir.File("socket");
  ASSERT_OK_AND_ASSIGN(const UniqueFd deaf, BindUnixSocket(path, SOCK_SEQPACKET));
  EXPECT_THAT(Connect(path), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(path)));
}

TEST(UnixSocketTest, WaitsForAFullQueueNoLongerThanAsked) {
  const TempDir dir;
  const std::string path = dir.File("socket");
  ASSERT_OK_AND_ASSIGN(const UniqueFd listener, BindUnixSocket(path, SOCK_SEQPACKET));
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  ASSERT_OK_AND_ASSIGN(const UniqueFd waits, Connect(path));
  EXPECT_THAT(
      ConnectUnixSocket(path, SOCK_SEQPACKET, absl::Now() + absl::Milliseconds(20)),
      StatusIs(absl::StatusCode::kDeadlineExceeded, AllOf(HasSubstr(path), HasSubstr("full"))));
}

TEST(UnixSocketTest, BindsNoPathTwiceAndNoneThatIsTooLong) {
  const TempDir dir;
  const std::string path = dir.File("socket");
  ASSERT_OK(BindUnixSocket(path, SOCK_STREAM));
  EXPECT_THAT(BindUnixSocket(path, SOCK_STREAM),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("bind " + path)));
  EXPECT_THAT(BindUnixSocket(std::string(108, 'x'), SOCK_STREAM),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 107 fit")));
}

// The kernel says it to who sends, before and after the connection was accepted.
TEST(UnixSocketTest, ListenersAndTheirConnectionsRefuseDescriptors) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    const TempDir dir;
    const std::string path = dir.File("socket");
    ASSERT_OK_AND_ASSIGN(const UniqueFd listener, BindUnixSocket(path, type));
    ASSERT_EQ(::listen(listener.get(), 4), 0);
    EXPECT_FALSE(RefusesDescriptors(listener.get()));
    if (!RefuseDescriptors(listener.get())) GTEST_SKIP() << "SO_PASSRIGHTS: Linux 6.16 or later";
    EXPECT_TRUE(RefusesDescriptors(listener.get()));
    ASSERT_OK_AND_ASSIGN(const UniqueFd client,
                         ConnectUnixSocket(path, type, absl::InfiniteFuture()));
    const std::vector<int> descriptors = {STDERR_FILENO};
    const auto send = [&](const UniqueFd& to) {
      return SendFdMessage(to.get(), "x", descriptors, absl::Seconds(5));
    };
    EXPECT_THAT(send(client), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("send")));
    const UniqueFd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(accepted.valid());
    EXPECT_TRUE(RefusesDescriptors(accepted.get()));
    EXPECT_THAT(send(client), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("send")));
    EXPECT_OK(send(accepted));  // the other way they pass
  }
}

}  // namespace
}  // namespace weightd::testing
