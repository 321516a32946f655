// SIGTERM: the daemon tells everybody, waits for them as long as it is told to, and exits 0.

#include <signal.h>
#include <sys/socket.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/socket_paths.h"
#include "common/unix_socket.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/grpc_calls.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// So long that a test which waited for its end would run into its own limit.
const std::vector<std::string> kLongGrace = {"--drain-grace-ms", "600000"};

std::string BigEndian(uint32_t number) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(number >> shift));
  return bytes;
}

std::string Http2Frame(char type, char flags, uint32_t stream, const std::string& payload) {
  return BigEndian(static_cast<uint32_t>(payload.size())).substr(1) + type + flags +
         BigEndian(stream) + payload;
}

std::string Http2Header(const std::string& name, const std::string& value) {
  return std::string(1, '\0') + static_cast<char>(name.size()) + name +
         static_cast<char>(value.size()) + value;
}

// Attaches of `model` that wait for it, on a connection that takes whatever comes and reads none.
std::string UnreadAttaches(const std::string& model, uint32_t calls) {
  constexpr uint32_t kWindow = 1 << 30;
  std::string all = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  // The streams' window, and the connection's.
  all += Http2Frame(4, 0, 0, std::string("\0\4", 2) + BigEndian(kWindow));
  all += Http2Frame(8, 0, 0, BigEndian(kWindow));
  const std::string head = "\x83\x86" +  // POST, http
                           Http2Header(":path", "/weightd.v1.WeightCache/Attach") +
                           Http2Header(":authority", "weightd") +
                           Http2Header("content-type", "application/grpc") +
                           Http2Header("te", "trailers");
  v1::AttachRequest request;
  request.set_model(model);
  request.set_policy(v1::WAIT);
  const std::string message = request.SerializeAsString();
  const std::string body =
      std::string(1, '\0') + BigEndian(static_cast<uint32_t>(message.size())) + message;
  for (uint32_t i = 0; i < calls; ++i) {
    all += Http2Frame(1, 4, 2 * i + 1, head) + Http2Frame(0, 1, 2 * i + 1, body);
  }
  return all;
}

class DrainTest : public DaemonTest {
 protected:
  void StartResident(const std::vector<std::string>& flags) {
    path_ = MakeModel("model", 4 << 20);
    Start(flags);
    Stage("model");
  }
  std::string path_;
};

TEST_F(DrainTest, IdleDaemonExitsWithoutWaiting) {
  StartResident(kLongGrace);
  const auto watcher = ctl_.Start({"events"});
  EXPECT_EQ(LeaseCount(), 0);
  StopCleanly();
  EXPECT_THAT(daemon_->log(), HasSubstr("stopped"));
}

TEST_F(DrainTest, HolderIsToldAndTheDaemonWaitsForIt) {
  StartResident(kLongGrace);
  const auto holder = Attach("model", {path_});
  daemon_->Signal(SIGTERM);
  EXPECT_TRUE(holder->WaitForNotice("notice draining")) << holder->output();
  EXPECT_THAT(holder->Compare(), StartsWith("same "));
  EXPECT_TRUE(holder->LeaseHeld());
  EXPECT_FALSE(daemon_->WaitForExit(absl::Milliseconds(100)).has_value()) << "it still waits";
  EXPECT_EQ(holder->Leave(), std::optional(0)) << holder->output();
  EXPECT_EQ(daemon_->WaitForExit(), std::optional(0));
}

TEST_F(DrainTest, HolderThatStaysLosesItsLeaseAtTheEndAndKeepsItsBytes) {
  StartResident({"--drain-grace-ms", "200"});
  const auto holder = Attach("model", {path_});
  StopCleanly();
  EXPECT_TRUE(holder->WaitForNotice("notice draining")) << holder->output();
  EXPECT_TRUE(holder->WaitForNotice("notice lost")) << holder->output();
  EXPECT_FALSE(holder->LeaseHeld());
  EXPECT_THAT(holder->Compare(), StartsWith("same "));
}

TEST_F(DrainTest, SecondSignalEndsItAtOnce) {
  StartResident(kLongGrace);
  const auto holder = Attach("model", {path_});
  daemon_->Signal(SIGTERM);
  EXPECT_TRUE(holder->WaitForNotice("notice draining")) << holder->output();
  daemon_->Signal(SIGTERM);
  EXPECT_EQ(daemon_->WaitForExit(), std::optional(1));
  EXPECT_THAT(holder->Compare(), StartsWith("same "));
}

TEST_F(DrainTest, InterruptDrainsToo) {
  StartResident(kLongGrace);
  daemon_->Signal(SIGINT);
  EXPECT_EQ(daemon_->WaitForExit(), std::optional(0));
}

// A drain may take minutes: whoever asks meanwhile must learn of it at once, on an old connection
// and on a new one.
TEST_F(DrainTest, WhoAsksMeanwhileIsAnsweredAndNewWorkIsRefused) {
  StartResident(kLongGrace);
  const auto channel = Connect(socket_dir_);
  ASSERT_NE(channel, nullptr);
  EXPECT_EQ(CheckHealth(channel, ""), "SERVING");
  const auto holder = Attach("model", {path_});
  daemon_->Signal(SIGTERM);
  EXPECT_TRUE(holder->WaitForNotice("notice draining")) << holder->output();

  // Told beside the lease holders.
  EXPECT_TRUE(WaitUntil([&] { return CheckHealth(channel, "") == "NOT_SERVING"; }));
  EXPECT_TRUE(
      WaitUntil([&] { return CheckHealth(channel, "weightd.v1.WeightCache") == "NOT_SERVING"; }));
  const CommandResult health = ctl_.Run({"health"});
  EXPECT_EQ(health.exit_code, kExitNotReady) << health;
  EXPECT_THAT(health.out, HasSubstr("NOT_SERVING"));
  EXPECT_TRUE(ctl_.Json({"status"})["draining"]);
  EXPECT_EQ(LeaseCount(), 1);
  const CommandResult stage = ctl_.Run({"stage", "model", "--wait"});
  EXPECT_EQ(stage.exit_code, kExitNotReady) << stage;
  AttachProbe late(Probe("model", {}));
  EXPECT_THAT(late.Attached(), StartsWith("refused UNAVAILABLE/DRAINING"));

  EXPECT_EQ(holder->Leave(), std::optional(0)) << holder->output();
  EXPECT_EQ(daemon_->WaitForExit(), std::optional(0));
}

// Whoever connects and says nothing is not worth waiting for: neither the time of a farewell that
// is not answered nor, one after another, that of a request that does not come.
TEST_F(DrainTest, SilentConnectionsDoNotHoldUpTheEnd) {
  StartResident(kLongGrace);
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 32; ++i) {
    for (const auto& [path, type] : {std::pair(RpcSocketPath(socket_dir_), SOCK_STREAM),
                                     std::pair(HandleSocketPath(socket_dir_), SOCK_SEQPACKET)}) {
      absl::StatusOr<UniqueFd> connection = ConnectUnixSocket(path, type, absl::Now() + kPatience);
      ASSERT_OK(connection);
      silent.push_back(*std::move(connection));
    }
  }
  EXPECT_EQ(LeaseCount(), 0) << "it answers beside them";
  daemon_->Signal(SIGTERM);
  EXPECT_EQ(daemon_->WaitForExit(absl::Seconds(10)), std::optional(0));
}

// Nor is one that is stopped: its stream is cancelled without it.
TEST_F(DrainTest, StoppedHolderIsWaitedForNoLongerThanTheGrace) {
  StartResident({"--drain-grace-ms", "200"});
  const auto holder = Attach("model", {path_});
  ASSERT_EQ(::kill(holder->pid(), SIGSTOP), 0);
  daemon_->Signal(SIGTERM);
  EXPECT_EQ(daemon_->WaitForExit(absl::Seconds(10)), std::optional(0));
  ASSERT_EQ(::kill(holder->pid(), SIGCONT), 0);
  EXPECT_TRUE(holder->WaitForNotice("notice lost")) << holder->output();
  EXPECT_THAT(holder->Compare(), StartsWith("same "));
}

// Nor do those who attach in masses and read nothing: what is written to them is never sent.
TEST_F(DrainTest, UnreadAttachesDoNotHoldUpTheEnd) {
  StartResident({"--drain-grace-ms", "1000"});
  std::vector<UniqueFd> unread;
  for (int i = 0; i < 20; ++i) {
    absl::StatusOr<UniqueFd> connection =
        ConnectUnixSocket(RpcSocketPath(socket_dir_), SOCK_STREAM, absl::Now() + kPatience);
    ASSERT_OK(connection);
    const std::string calls = UnreadAttaches("model", 200);
    ASSERT_EQ(::send(connection->get(), calls.data(), calls.size(), MSG_DONTWAIT), calls.size());
    unread.push_back(*std::move(connection));
  }
  ASSERT_TRUE(WaitUntil([&] { return LeaseCount() >= 1000; }));
  daemon_->Signal(SIGTERM);
  EXPECT_EQ(daemon_->WaitForExit(absl::Seconds(10)), std::optional(0));
  EXPECT_THAT(daemon_->log(), Not(HasSubstr("drain_step_hangs")));
}

TEST_F(DrainTest, RunningStageIsCancelled) {
  const std::string path = MakeModel("model", 24 << 20);
  const HeldRead held(dir_, "/model.safetensors", 9'000'000);
  std::vector<std::string> flags = kPread;
  flags.insert(flags.end(), kLongGrace.begin(), kLongGrace.end());
  Start(flags, held.environment());
  const auto stage = ctl_.Start({"stage", "model", "--wait"});
  ASSERT_TRUE(held.WaitUntilReached());
  daemon_->Signal(SIGTERM);
  EXPECT_TRUE(daemon_->WaitForLog("drain_started"));
  held.Release();
  EXPECT_EQ(daemon_->WaitForExit(), std::optional(0));
  EXPECT_NE(stage->WaitForExit(), std::optional(kExitOk)) << stage->out();
}

}  // namespace
}  // namespace weightd::testing
