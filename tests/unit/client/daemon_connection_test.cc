#include "client/cpp/daemon_connection.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weightd/client.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/fd_passing.h"
#include "common/handle_protocol.h"
#include "common/socket_paths.h"
#include "common/thread.h"
#include "common/unix_socket.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/lingering.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"
#include "tests/unit/client/fake_grant.h"
#include "tests/unit/client/fake_service.h"

namespace weightd::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using weightd::testing::Lingering;
using weightd::testing::ReasonIs;
using weightd::testing::RpcError;
using weightd::testing::StatusIs;

constexpr uid_t kNobody = 65534;

UniqueFd Listen(const std::string& path) {
  absl::StatusOr<UniqueFd> socket = BindUnixSocket(path, SOCK_STREAM);
  EXPECT_OK(socket);
  EXPECT_EQ(::listen(socket->get(), 0), 0);
  return *std::move(socket);
}

class DaemonConnectionTest : public ::testing::Test {
 protected:
  Status AttachError(std::chrono::milliseconds timeout = std::chrono::seconds(10)) const {
    return Attach("model", {.socket_dir = dir_.path(), .timeout = timeout}).status();
  }

  weightd::testing::TempDir dir_;
};

TEST_F(DaemonConnectionTest, SaysThatThereIsNoSocket) {
  const Status status = AttachError();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(status.reason(), "UNREACHABLE");
  EXPECT_THAT(status.message(), AllOf(HasSubstr("attach model: "), HasSubstr("no such socket"),
                                      HasSubstr("WEIGHTD_SOCKET_DIR")));
}

TEST_F(DaemonConnectionTest, SaysThatNobodyListens) {
  Listen(RpcSocketPath(dir_.path())).reset();
  const Status status = AttachError();
  EXPECT_EQ(status.reason(), "UNREACHABLE");
  EXPECT_THAT(status.message(), HasSubstr("nobody listens"));
}

TEST_F(DaemonConnectionTest, SaysThatTheDirectoryIsClosedToUs) {
  const UniqueFd socket = Listen(RpcSocketPath(dir_.path()));
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0), 0);
  const uid_t me = ::geteuid();
  // Root may enter every directory.
  ASSERT_TRUE(me != 0 || ::seteuid(kNobody) == 0);
  const Status status = AttachError();
  ASSERT_TRUE(me != 0 || ::seteuid(me) == 0);
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0700), 0);
  EXPECT_EQ(status.code(), StatusCode::kPermissionDenied);
  EXPECT_EQ(status.reason(), "PERMISSION_DENIED");
  EXPECT_THAT(status.message(), HasSubstr("permission denied"));
}

TEST_F(DaemonConnectionTest, RefusesAPathThatNoSocketCanHave) {
  EXPECT_THAT(ConnectToDaemon(std::string(200, 'x'), SOCK_STREAM, absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("200 bytes")));
}

// A daemon that hangs before it accepts: the queue of the listener fills up, and connect(2) waits.
TEST_F(DaemonConnectionTest, GivesUpOnAFullQueue) {
  const std::string path = RpcSocketPath(dir_.path());
  const UniqueFd listener = Listen(path);
  const absl::Time deadline = absl::Now() + absl::Milliseconds(50);
  std::vector<UniqueFd> waiting;
  absl::Status status;
  while (status.ok() && waiting.size() < 100) {
    absl::StatusOr<UniqueFd> socket = ConnectToDaemon(path, SOCK_STREAM, deadline);
    status = socket.status();
    if (socket.ok()) waiting.push_back(*std::move(socket));
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                               HasSubstr("does not accept connections")));
}

TEST_F(DaemonConnectionTest, GivesUpOnADaemonThatAcceptsAndSaysNothing) {
  const UniqueFd listener = Listen(RpcSocketPath(dir_.path()));
  const Status status = AttachError(std::chrono::milliseconds(50));
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr("waiting for the grant"));
}

TEST_F(DaemonConnectionTest, GivesUpOnAGrantWithoutItsTensors) {
  weightd::testing::FakeService service(dir_.path());
  weightd::testing::HandleScript handles;
  handles.fds.push_back(weightd::testing::MakeSealedMemfd(weightd::testing::SmallContent()));
  service.SetHandles(std::move(handles));
  std::vector<v1::AttachResponse> messages = weightd::testing::SmallGrant().Messages();
  messages.resize(1);
  service.SetAttach({.messages = messages, .end = {}});
  const Status status = AttachError(std::chrono::milliseconds(200));
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(status.message(), HasSubstr("waiting for the tensors"));
  EXPECT_TRUE(service.WaitForStreams(0));
}

TEST_F(DaemonConnectionTest, RefusesATimeoutThatIsNotAboveZero) {
  EXPECT_EQ(AttachError(std::chrono::milliseconds(0)).code(), StatusCode::kInvalidArgument);
}

TEST_F(DaemonConnectionTest, TakesReasonAndMetadataFromErrorInfo) {
  weightd::testing::FakeService service(dir_.path());
  service.SetAttach({.messages = {},
                     .end = RpcError(grpc::StatusCode::FAILED_PRECONDITION, "MODEL_NOT_RESIDENT",
                                     "model is not in memory")});
  const Status status = AttachError();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.reason(), "MODEL_NOT_RESIDENT");
  EXPECT_EQ(status.message(), "attach model: model is not in memory");
}

TEST_F(DaemonConnectionTest, KeepsAnUnknownReasonInTheMessage) {
  EXPECT_THAT(FromRpcStatus(RpcError(grpc::StatusCode::ABORTED, "FROM_THE_FUTURE", "no")),
              StatusIs(absl::StatusCode::kAborted, "no (FROM_THE_FUTURE)"));
}

TEST_F(DaemonConnectionTest, TakesNoReasonFromAnotherDomainOrFromGarbage) {
  grpc::Status status(grpc::StatusCode::ABORTED, "no", "\xff garbage");
  EXPECT_THAT(FromRpcStatus(status), StatusIs(absl::StatusCode::kAborted, "no"));
}

const grpc::Status kBroken(grpc::StatusCode::UNAVAILABLE, "Socket closed");

TEST_F(DaemonConnectionTest, AsksTheHandleSocketWhetherTheAllowListRefusesUs) {
  weightd::testing::FakeService service(dir_.path());
  weightd::testing::HandleScript handles;
  handles.who_am_i = ErrorWithReason(absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied,
                                     "uid 1000 is not on the attach list");
  service.SetHandles(std::move(handles));
  EXPECT_THAT(DiagnoseRpcStatus(kBroken, dir_.path()),
              ReasonIs(Reason::kPermissionDenied, "uid 1000 is not on the attach list"));
}

TEST_F(DaemonConnectionTest, BrokenConnectionOfAnAllowedCallerIsUnreachable) {
  weightd::testing::FakeService service(dir_.path());
  EXPECT_THAT(DiagnoseRpcStatus(kBroken, dir_.path()),
              ReasonIs(Reason::kUnreachable, HasSubstr("closed the connection")));
  service.Kill();
  EXPECT_THAT(DiagnoseRpcStatus(kBroken, dir_.path()),
              ReasonIs(Reason::kUnreachable, HasSubstr("handles.sock")));
}

TEST_F(DaemonConnectionTest, DrainingIsNotTakenForABrokenConnection) {
  EXPECT_THAT(DiagnoseRpcStatus(RpcError(grpc::StatusCode::UNAVAILABLE, "DRAINING", "draining"),
                                dir_.path()),
              ReasonIs(Reason::kDraining, "draining"));
}

// Answers one request, and sends a socket that lingers: with the answer, which has one descriptor
// more than there is room for, or behind it.
class LingeringAnswer {
 public:
  LingeringAnswer(const std::string& path, bool is_behind) : path_(path) {
    auto listener = BindUnixSocket(path_, SOCK_SEQPACKET);
    EXPECT_OK(listener);
    listener_ = *std::move(listener);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    auto thread = Thread::Start("liar", [this, is_behind] { Answer(is_behind); });
    EXPECT_OK(thread);
    thread_ = *std::move(thread);
  }
  ~LingeringAnswer() {
    lingering_.Release();
    thread_.Join();
    ::unlink(path_.c_str());
  }

 private:
  void Answer(bool is_behind) {
    const UniqueFd connection(::accept(listener_.get(), nullptr, nullptr));
    const UniqueFd memory = weightd::testing::MakeSealedMemfd("memory");
    UniqueFd lingering = lingering_.Take();
    std::vector<int> fds = {memory.get(), lingering.get()};
    if (is_behind) fds.pop_back();
    (void)SendFdMessage(connection.get(), EncodeHandleReply(absl::OkStatus()), fds, kLong);
    if (is_behind) (void)SendFdMessage(connection.get(), "more", {lingering.get()}, kLong);
    lingering.reset();  // may be the last itself, and linger
    char byte = 0;
    while (::recv(connection.get(), &byte, 1, 0) > 0) continue;
  }

  static constexpr absl::Duration kLong = absl::Seconds(20);
  const std::string path_;
  Lingering lingering_;
  UniqueFd listener_;
  Thread thread_;
};

class LingeringAnswerTest : public DaemonConnectionTest,
                            public ::testing::WithParamInterface<bool> {};

// The kernel closes what a peer sent, and nobody else has, where it is dropped: what is too many in
// recvmsg(2), what is behind the answer in close(2). Both may last.
TEST_P(LingeringAnswerTest, KeepsNobodyBeyondTheDeadline) {
  absl::Status status;
  // The client may be faster than the server, who waits himself then.
  for (int attempt = 0; attempt < 100 && !absl::IsDeadlineExceeded(status); ++attempt) {
    const LingeringAnswer answer(HandleSocketPath(dir_.path()), GetParam());
    status = AskHandleSocket(dir_.path(), {}, 1, absl::Now() + absl::Milliseconds(200)).status();
  }
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("no answer in time")));
}

INSTANTIATE_TEST_SUITE_P(Places, LingeringAnswerTest, ::testing::Bool(),
                         [](const auto& place) { return place.param ? "Behind" : "Extra"; });

}  // namespace
}  // namespace weightd::client
