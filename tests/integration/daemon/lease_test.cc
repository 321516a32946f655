// Many clients at once.

#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/socket_paths.h"
#include "common/unix_socket.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST_F(DaemonTest, SixtyFourClientsAttachReadAndLeave) {
  constexpr size_t kClients = 64;
  const std::string path = MakeModel("model", 4 << 20);
  Start();
  Stage("model");
  std::vector<std::unique_ptr<AttachProbe>> clients;
  for (size_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<AttachProbe>(Probe("model", {path})));
  }
  for (const auto& client : clients) EXPECT_TRUE(client->is_attached()) << client->output();
  EXPECT_EQ(LeaseCount(), kClients);
  const uint64_t used = UsedBytes();
  EXPECT_LT(used, uint64_t{8} << 20) << "all share one copy";
  EXPECT_EQ(DeviceStatus()["leased_bytes"], used);
  for (const auto& client : clients) EXPECT_THAT(client->Compare(), StartsWith("same "));
  for (const auto& client : clients) EXPECT_EQ(client->Leave(), std::optional(0));
  EXPECT_TRUE(WaitUntil([&] { return LeaseCount() == 0; }));
  EXPECT_EQ(ctl_.Run({"evict", "model"}).exit_code, kExitOk);
  EXPECT_EQ(UsedBytes(), 0);
  StopCleanly();
}

// Connections to the handle socket that say nothing, more than are let wait.
TEST_F(DaemonTest, SilentClientsOfTheHandleSocketHoldUpNobody) {
  const std::string path = MakeModel("model", 1 << 20);
  Start();
  Stage("model");
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 300; ++i) {
    absl::StatusOr<UniqueFd> connection =
        ConnectUnixSocket(HandleSocketPath(socket_dir_), SOCK_SEQPACKET, absl::Now() + kPatience);
    ASSERT_OK(connection);
    silent.push_back(*std::move(connection));
  }
  const CommandResult read =
      ctl_.Run({"read", "model", SmallTensorSpecs(8, 1 << 20)[0].name, "--timeout", "4s"});
  EXPECT_EQ(read.exit_code, kExitOk) << read.err;
  ExpectSameAsFiles("model", {path});
  StopCleanly();
}

TEST_F(DaemonTest, LeaseAboveTheLimitOfItsUidIsRefused) {
  MakeModel("model", 1 << 20);
  Start({"--limits.leases-per-uid-max", "2"});
  Stage("model");
  const auto first = Attach("model");
  const auto second = Attach("model");
  AttachProbe third(Probe("model", {}));
  EXPECT_THAT(third.Attached(), StartsWith("refused RESOURCE_EXHAUSTED/LIMIT_EXCEEDED"));
  first->Leave();
  EXPECT_TRUE(WaitUntil([&] { return LeaseCount() == 1; }));
  const auto fourth = Attach("model");
  StopCleanly();
}

TEST_F(DaemonTest, AttachToWhatIsNotThereSaysWhatIsMissing) {
  MakeModel("cold", 1 << 20);
  Start();
  AttachProbe cold(Probe("cold", {}));
  EXPECT_THAT(cold.Attached(), StartsWith("refused FAILED_PRECONDITION/MODEL_NOT_RESIDENT"));
  EXPECT_THAT(cold.Attached(), HasSubstr("stage it first"));
  ProbeOptions other = Probe("cold", {});
  other.device = "GPU-0";
  EXPECT_THAT(AttachProbe(other).Attached(), StartsWith("refused "));
  EXPECT_EQ(EventsUntil("ATTACH_REFUSED").back()["reason"], "MODEL_NOT_RESIDENT");
  StopCleanly();
}

}  // namespace
}  // namespace weightd::testing
