#include "client/cpp/server_trust.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/time/clock.h"
#include "common/socket_paths.h"
#include "common/unix_socket.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::ReasonIs;
using testing::TempDir;

constexpr uid_t kOther = 65533;

// A directory with something that listens, made and served by whom a test wants: as root, who can
// play everybody.
class ServerTrustTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be several users";
    ASSERT_EQ(::chmod(parent_.path().c_str(), 01777), 0);
    directory_ = parent_.File("weightd");
    ASSERT_EQ(::mkdir(directory_.c_str(), 0755), 0);
  }
  void GiveTo(uid_t owner) { ASSERT_EQ(::chown(directory_.c_str(), owner, owner), 0); }
  void ListenAs(uid_t server) {
    auto listener = BindUnixSocket(RpcSocketPath(directory_), SOCK_STREAM);
    ASSERT_OK(listener);
    listener_ = *std::move(listener);
    // The kernel tells who called listen(2).
    ASSERT_EQ(::seteuid(server), 0);
    EXPECT_EQ(::listen(listener_.get(), 4), 0);
    ASSERT_EQ(::seteuid(0), 0);
    auto socket = ConnectUnixSocket(RpcSocketPath(directory_), SOCK_STREAM, absl::InfiniteFuture());
    ASSERT_OK(socket);
    socket_ = *std::move(socket);
  }
  absl::Status Check() const { return CheckDefaultServer(directory_, socket_.get()); }

  TempDir parent_;
  std::string directory_;
  UniqueFd listener_;
  UniqueFd socket_;
};

TEST_F(ServerTrustTest, BelievesItself) {
  ListenAs(0);
  EXPECT_OK(Check());
}

TEST_F(ServerTrustTest, BelievesNoDirectoryOfAnotherUser) {
  GiveTo(kOther);
  ListenAs(kOther);
  EXPECT_THAT(Check(), ReasonIs(Reason::kPermissionDenied,
                                AllOf(HasSubstr("belongs to uid 65533"), HasSubstr("name it"),
                                      HasSubstr("WEIGHTD_SOCKET_DIR"))));
}

TEST_F(ServerTrustTest, BelievesWhomAPlaceOfRootsWasGivenTo) {
  ASSERT_EQ(::chmod(parent_.path().c_str(), 0755), 0);  // as /run: nobody else made it
  GiveTo(kOther);
  ListenAs(kOther);
  EXPECT_OK(Check());
}

TEST_F(ServerTrustTest, BelievesNoOtherServerInItsOwnDirectory) {
  ListenAs(kOther);
  EXPECT_THAT(Check(), ReasonIs(Reason::kPermissionDenied, HasSubstr("uid 65533 listens there")));
}

TEST_F(ServerTrustTest, BelievesNoLinkAndNoDirectoryThatOthersWriteTo) {
  ListenAs(0);
  ASSERT_EQ(::chmod(directory_.c_str(), 01777), 0);
  EXPECT_THAT(Check(), ReasonIs(Reason::kPermissionDenied, HasSubstr("mode 1777")));
  ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);
  const std::string link = parent_.File("link");
  ASSERT_EQ(::symlink(directory_.c_str(), link.c_str()), 0);
  EXPECT_THAT(CheckDefaultServer(link, socket_.get()),
              ReasonIs(Reason::kPermissionDenied, HasSubstr("symbolic link")));
}

}  // namespace
}  // namespace weightd::client
