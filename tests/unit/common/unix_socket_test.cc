#include "common/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <string>

#include "absl/time/clock.h"
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

}  // namespace
}  // namespace weightd::testing
