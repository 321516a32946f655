#include "daemon/service/handle_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/fd_passing.h"
#include "common/handle_protocol.h"
#include "common/thread.h"
#include "common/unix_socket.h"
#include "tests/support/common/fake_clock.h"
#include "tests/support/common/lingering.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd {
namespace {

using testing::FakeClock;
using ::testing::HasSubstr;
using testing::Lingering;
using testing::ReasonIs;
using testing::TempDir;

constexpr absl::Duration kLong = absl::Seconds(60);
// How long close(2) of what a hostile peer sends takes, where nobody refuses it.
constexpr int kLingerSeconds = 20;

// A listener whose kernel lets descriptors through, as all did before Linux 6.16.
class HandleServerTest : public ::testing::Test {
 protected:
  void Serve(AccessOptions access) {
    access_.Set(std::move(access));
    auto listener = BindUnixSocket(path_, SOCK_SEQPACKET | SOCK_NONBLOCK);
    ASSERT_OK(listener);
    listener_ = *std::move(listener);
    ASSERT_EQ(::listen(listener_.get(), 64), 0);
    auto server = HandleServer::Start(
        listener_.get(),
        {.gate = gate_, .closer = closer_, .redeem = [](absl::string_view, const Peer&) {
           std::vector<UniqueFd> fds;
           fds.emplace_back(::dup(STDERR_FILENO));
           return fds;
         }});
    ASSERT_OK(server);
    server_ = *std::move(server);
  }
  void ServeUs() {
    AccessOptions access;
    access.attach_uids = {static_cast<uint32_t>(::geteuid())};
    Serve(std::move(access));
  }
  UniqueFd Connect() {
    auto connection = ConnectUnixSocket(path_, SOCK_SEQPACKET, absl::Now() + kLong);
    EXPECT_OK(connection);
    return *std::move(connection);
  }
  static absl::StatusOr<FdMessage> Answer(const UniqueFd& connection) {
    return ReceiveFdMessage(connection.get(), kLong);
  }
  absl::Status AskWhoAmI() {
    const UniqueFd connection = Connect();
    EXPECT_OK(SendFdMessage(connection.get(), EncodeHandleRequest({}), {}, kLong));
    auto answer = Answer(connection);
    return answer.ok() ? DecodeHandleReply(answer->bytes) : answer.status();
  }

  const TempDir dir_;
  const std::string path_ = dir_.File("handles.sock");
  FakeClock clock_;
  AccessList access_{AccessOptions()};
  UidLimits limits_{UidLimitOptions(), 1 << 20};
  ConnectionGate gate_{access_, limits_, clock_, nullptr};
  DetachedCloser closer_;
  UniqueFd listener_;
  std::unique_ptr<HandleServer> server_;
};

TEST_F(HandleServerTest, GivesDescriptorsForATicket) {
  ServeUs();
  const UniqueFd connection = Connect();
  const HandleRequest request{.kind = HandleRequest::Kind::kTicket,
                              .ticket = std::string(kTicketBytes, 't')};
  ASSERT_OK(SendFdMessage(connection.get(), EncodeHandleRequest(request), {}, kLong));
  ASSERT_OK_AND_ASSIGN(const FdMessage answer, Answer(connection));
  EXPECT_OK(DecodeHandleReply(answer.bytes));
  EXPECT_EQ(answer.fds.size(), 1);
}

TEST_F(HandleServerTest, TellsWhomItRefusesWithoutReadingTheirMessage) {
  Serve({});
  const UniqueFd connection = Connect();
  ASSERT_OK_AND_ASSIGN(const FdMessage answer, Answer(connection));  // nothing was sent
  EXPECT_THAT(DecodeHandleReply(answer.bytes),
              ReasonIs(Reason::kPermissionDenied, HasSubstr("may not attach")));
  EXPECT_THAT(AskWhoAmI(), ReasonIs(Reason::kPermissionDenied, HasSubstr("may not attach")));
}

TEST_F(HandleServerTest, TellsWhoHasTooManyConnections) {
  UidLimitOptions options;
  options.connections = {.per_uid_max = 1, .max = 100};
  limits_.Set(options);
  ServeUs();
  ASSERT_OK_AND_ASSIGN(const Share rpc, limits_.Take(Cost::kConnections,
                                                     {.uid = static_cast<uint32_t>(::geteuid())}));
  EXPECT_THAT(AskWhoAmI(),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("limits.connections_per_uid_max")));
}

// Also of peers on no list, whose messages are never read.
TEST_F(HandleServerTest, DescriptorsThatTakeLongToCloseHoldUpNobody) {
  for (const bool listed : {true, false}) {
    listed ? ServeUs() : Serve({});
    std::vector<std::unique_ptr<Lingering>> sent;
    for (int i = 0; i < 8; ++i) {
      sent.push_back(std::make_unique<Lingering>(kLingerSeconds));
      UniqueFd lingering = sent.back()->Take();
      const UniqueFd connection = Connect();
      const std::vector<int> descriptors = {lingering.get()};
      ASSERT_OK(SendFdMessage(connection.get(), EncodeHandleRequest({}), descriptors, kLong));
      // Elsewhere: whose is the last, waits.
      ASSERT_OK(Thread::StartDetached("test", [fd = lingering.release()] { ::close(fd); }));
      (void)Answer(connection);
    }
    const absl::Time begin = absl::Now();
    const absl::Status answer = AskWhoAmI();
    EXPECT_LT(absl::Now() - begin, absl::Seconds(kLingerSeconds / 2));
    EXPECT_EQ(answer.ok(), listed) << answer;
    server_.reset();
    ASSERT_EQ(::unlink(path_.c_str()), 0);
    for (const auto& lingering : sent) lingering->Release();
  }
}

}  // namespace
}  // namespace weightd
