#include "daemon/service/socket_dir.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <utility>
#include <vector>

#include "common/socket_paths.h"
#include "common/unix_socket.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::StatusIs;
using testing::TempDir;

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// A socket that was bound and whose process is gone.
void LeaveStaleSocket(const std::string& path) { ASSERT_OK(BindUnixSocket(path, SOCK_STREAM)); }

TEST(SocketDirTest, MakesADirectoryAndSocketsThatOthersCannotEnter) {
  const TempDir dir;
  const std::string path = dir.File("s");
  ASSERT_OK_AND_ASSIGN(const auto sockets, SocketDir::Open(path));
  EXPECT_EQ(ModeOf(path), 0750u);
  EXPECT_EQ(ModeOf(RpcSocketPath(path)), 0660u);
  EXPECT_EQ(ModeOf(HandleSocketPath(path)), 0660u);
  EXPECT_TRUE(sockets->warnings().empty());
  EXPECT_OK(ConnectUnixSocket(RpcSocketPath(path), SOCK_STREAM, absl::InfiniteFuture()));
  EXPECT_OK(ConnectUnixSocket(HandleSocketPath(path), SOCK_SEQPACKET, absl::InfiniteFuture()));
}

TEST(SocketDirTest, RemovesItsSocketsAtTheEnd) {
  const TempDir dir;
  const std::string path = dir.File("s");
  { ASSERT_OK(SocketDir::Open(path)); }
  EXPECT_FALSE(Exists(RpcSocketPath(path)));
  EXPECT_FALSE(Exists(HandleSocketPath(path)));
}

TEST(SocketDirTest, RefusesADirectoryInUseAndLeavesItAlone) {
  const TempDir dir;
  const std::string path = dir.File("s");
  ASSERT_OK_AND_ASSIGN(const auto first, SocketDir::Open(path));
  EXPECT_THAT(SocketDir::Open(path),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("in use")));
  EXPECT_OK(ConnectUnixSocket(RpcSocketPath(path), SOCK_STREAM, absl::InfiniteFuture()));
}

TEST(SocketDirTest, ReplacesStaleSockets) {
  const TempDir dir;
  LeaveStaleSocket(RpcSocketPath(dir.path()));
  LeaveStaleSocket(HandleSocketPath(dir.path()));
  ASSERT_OK_AND_ASSIGN(const auto sockets, SocketDir::Open(dir.path()));
  EXPECT_OK(ConnectUnixSocket(RpcSocketPath(dir.path()), SOCK_STREAM, absl::InfiniteFuture()));
}

TEST(SocketDirTest, RefusesASocketThatSomethingElseListensOn) {
  const TempDir dir;
  const std::string path = RpcSocketPath(dir.path());
  ASSERT_OK_AND_ASSIGN(const UniqueFd other, BindUnixSocket(path, SOCK_STREAM));
  ASSERT_EQ(::listen(other.get(), 1), 0);
  EXPECT_THAT(SocketDir::Open(dir.path()),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(path)));
  EXPECT_TRUE(Exists(path));
}

// What listens there may be stopped: a connection that waits for room would hold up our start.
TEST(SocketDirTest, RefusesASocketWhoseQueueIsFull) {
  const TempDir dir;
  const std::string path = RpcSocketPath(dir.path());
  ASSERT_OK_AND_ASSIGN(const UniqueFd other, BindUnixSocket(path, SOCK_STREAM));
  ASSERT_EQ(::listen(other.get(), 0), 0);
  ASSERT_OK_AND_ASSIGN(const UniqueFd waits,
                       ConnectUnixSocket(path, SOCK_STREAM, absl::InfiniteFuture()));
  EXPECT_THAT(SocketDir::Open(dir.path()),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("is in use")));
}

TEST(SocketDirTest, DoesNotRemoveAFileThatIsNoSocket) {
  const TempDir dir;
  std::ofstream(RpcSocketPath(dir.path())) << "precious";
  EXPECT_THAT(SocketDir::Open(dir.path()),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("not a socket")));
  EXPECT_TRUE(Exists(RpcSocketPath(dir.path())));
}

TEST(SocketDirTest, LeavesTheModeOfADirectoryWithOtherThingsAndWarns) {
  const TempDir dir;
  std::ofstream(dir.File("other")) << "x";
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  ASSERT_OK_AND_ASSIGN(const auto sockets, SocketDir::Open(dir.path()));
  EXPECT_EQ(ModeOf(dir.path()), 0755u);
  EXPECT_THAT(sockets->warnings(),
              ::testing::ElementsAre(::testing::Field(&Warning::text, HasSubstr("0755"))));
}

TEST(SocketDirTest, TightensAnEmptyDirectoryOfOurs) {
  const TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0777), 0);
  ASSERT_OK_AND_ASSIGN(const auto sockets, SocketDir::Open(dir.path()));
  EXPECT_EQ(ModeOf(dir.path()), 0750u);
}

TEST(SocketDirTest, RefusesAPathTooLongForASocket) {
  const TempDir dir;
  EXPECT_THAT(SocketDir::Open(dir.File(std::string(100, 'x'))),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bytes")));
}

TEST(SocketDirTest, NamesAMissingParent) {
  const TempDir dir;
  EXPECT_THAT(SocketDir::Open(dir.File("no/such")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no/such")));
}

// A socket as systemd makes it, and passes.
UniqueFd PassedSocket(const std::string& path, int type) {
  absl::StatusOr<UniqueFd> socket = BindUnixSocket(path, type);
  EXPECT_OK(socket.status());
  EXPECT_EQ(::listen(socket->get(), 8), 0);
  return *std::move(socket);
}

TEST(SocketDirTest, UsesThePassedSocketsAndLeavesThemWhereTheyAre) {
  const TempDir dir;
  const std::string path = dir.File("s");
  ASSERT_EQ(::mkdir(path.c_str(), 0750), 0);
  std::vector<UniqueFd> passed;
  passed.push_back(PassedSocket(HandleSocketPath(path), SOCK_SEQPACKET));
  passed.push_back(PassedSocket(RpcSocketPath(path), SOCK_STREAM));
  const int rpc = passed[1].get();
  {
    ASSERT_OK_AND_ASSIGN(const auto sockets, SocketDir::Open(path, std::move(passed)));
    EXPECT_EQ(sockets->rpc_listener(), rpc);
    EXPECT_NE(::fcntl(sockets->rpc_listener(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(::fcntl(sockets->handle_listener(), F_GETFL) & O_NONBLOCK, 0);
  }
  EXPECT_TRUE(Exists(RpcSocketPath(path)));
  EXPECT_TRUE(Exists(HandleSocketPath(path)));
}

TEST(SocketDirTest, MakesTheSocketThatWasNotPassed) {
  const TempDir dir;
  const std::string path = dir.File("s");
  ASSERT_EQ(::mkdir(path.c_str(), 0750), 0);
  std::vector<UniqueFd> passed;
  passed.push_back(PassedSocket(RpcSocketPath(path), SOCK_STREAM));
  { ASSERT_OK(SocketDir::Open(path, std::move(passed))); }
  EXPECT_TRUE(Exists(RpcSocketPath(path)));
  EXPECT_FALSE(Exists(HandleSocketPath(path)));
}

TEST(SocketDirTest, RefusesAPassedSocketThatIsNotTheDirectorys) {
  const TempDir dir;
  std::vector<UniqueFd> passed;
  passed.push_back(PassedSocket(dir.File("other.sock"), SOCK_STREAM));
  EXPECT_THAT(SocketDir::Open(dir.File("s"), std::move(passed)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("other.sock"), HasSubstr(RpcSocketPath(dir.File("s"))))));
}

TEST(SocketDirTest, RefusesAPassedSocketOfTheWrongType) {
  const TempDir dir;
  const std::string path = dir.File("s");
  ASSERT_EQ(::mkdir(path.c_str(), 0750), 0);
  std::vector<UniqueFd> passed;
  passed.push_back(PassedSocket(HandleSocketPath(path), SOCK_STREAM));
  EXPECT_THAT(SocketDir::Open(path, std::move(passed)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ListenSequentialPacket=")));
}

TEST(SocketDirTest, RefusesADirectoryOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make one";
  const TempDir dir;
  const std::string path = dir.File("s");
  ASSERT_EQ(::mkdir(path.c_str(), 0755), 0);
  ASSERT_EQ(::chown(path.c_str(), 65533, 65533), 0);
  EXPECT_THAT(SocketDir::Open(path),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("belongs to uid 65533")));
  ASSERT_EQ(::chown(path.c_str(), 0, 0), 0);
  const std::string link = dir.File("link");
  ASSERT_EQ(::symlink(path.c_str(), link.c_str()), 0);
  ASSERT_EQ(::lchown(link.c_str(), 65533, 65533), 0);
  EXPECT_THAT(SocketDir::Open(link),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("belongs to uid 65533")));
  EXPECT_OK(SocketDir::Open(path));
}

}  // namespace
}  // namespace weightd
