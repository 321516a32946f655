// kill -9: of clients, of a daemon that stages, of a daemon with clients.

#include <signal.h>

#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/proc_files.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr uint64_t kModelBytes = 24 << 20;

absl::Time TimeOf(const nlohmann::json& event) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, event.value("time", ""), &time, &error)) << error;
  return time;
}

TEST_F(DaemonTest, KilledClientsLeaseEndsWithinASecond) {
  const std::string path = MakeModel("model", kModelBytes);
  Start();
  Stage("model");
  const auto survivor = Attach("model", {path});
  const auto victim = Attach("model", {path});
  const nlohmann::json leases = ctl_.Json({"leases"})["leases"];
  ASSERT_EQ(leases.size(), 2);
  EXPECT_EQ(leases[1]["pid"], victim->pid());
  EXPECT_EQ(leases[1]["model"], "model");
  EXPECT_EQ(leases[1]["client_name"], "attach_probe");
  EXPECT_GE(leases[1]["bytes"], kModelBytes);

  const absl::Time killed = absl::Now();
  victim->Kill();
  const nlohmann::json ended = EventsUntil("LEASE_ENDED").back();
  EXPECT_EQ(ended["lease_id"], leases[1]["id"]);
  EXPECT_EQ(ended["pid"], victim->pid());
  EXPECT_LT(TimeOf(ended) - killed, absl::Seconds(1));
  EXPECT_EQ(LeaseCount(), 1);
  EXPECT_THAT(survivor->Compare(), StartsWith("same "));
  survivor->Leave();
  EXPECT_TRUE(WaitUntil([&] { return LeaseCount() == 0; }));
  EXPECT_EQ(ctl_.Run({"evict", "model"}).exit_code, kExitOk);
  StopCleanly();
}

// A stopped process neither reads nor answers: nobody else may be held up by it.
TEST_F(DaemonTest, StoppedClientHoldsUpNobody) {
  const std::string path = MakeModel("model", kModelBytes);
  Start();
  Stage("model");
  const auto stopped = Attach("model", {path});
  ASSERT_EQ(::kill(stopped->pid(), SIGSTOP), 0);
  ExpectSameAsFiles("model", {path});
  EXPECT_EQ(LeaseCount(), 1);
  stopped->Kill();
  EXPECT_TRUE(WaitUntil([&] { return LeaseCount() == 0; }));
}

class DaemonCrashTest : public DaemonTest {
 protected:
  // Nothing of it is in /dev/shm, where memory would outlive it: other processes' files are theirs.
  void KillDaemon() {
    auto shared = ListFilesBelow(daemon_->pid(), "/dev/shm");
    ASSERT_OK(shared);
    // The test's own folder may be there.
    std::erase_if(*shared,
                  [this](const std::string& file) { return file.starts_with(dir_.path()); });
    EXPECT_THAT(*shared, IsEmpty());
    daemon_->Kill();
  }
  // What a start after a crash finds must not be in its way.
  void ExpectTheNextStartServes(const std::string& path) {
    Start();
    EXPECT_THAT(FileNames(socket_dir_),
                ElementsAre("handles.sock", "weightd.lock", "weightd.sock"));
    EXPECT_THAT(Resident(), IsEmpty());
    EXPECT_EQ(UsedBytes(), 0);
    Stage("model");
    ExpectSameAsFiles("model", {path});
    StopCleanly();
  }
};

TEST_F(DaemonCrashTest, DaemonKilledInTheMiddleOfAStageLeavesNothing) {
  const std::string path = MakeModel("model", kModelBytes);
  const HeldRead held(dir_, "/model.safetensors", kModelBytes / 2);
  Start(kPread, held.environment());
  const std::unique_ptr<ChildProcess> stage = ctl_.Start({"stage", "model", "--wait"});
  ASSERT_TRUE(held.WaitUntilReached());
  KillDaemon();
  EXPECT_EQ(stage->WaitForExit(), std::optional(kExitUnreachable)) << stage->err();
  EXPECT_THAT(stage->err(), HasSubstr("stage model"));
  ExpectTheNextStartServes(path);
}

// io_uring cannot be held: the kill comes at some time of the stage, or just after it.
TEST_F(DaemonCrashTest, DaemonKilledWhileItsRingReadsLeavesNothing) {
  const std::string path = MakeModel("model", 256 << 20);
  Start();
  const std::unique_ptr<ChildProcess> stage = ctl_.Start({"stage", "model", "--wait"});
  ASSERT_TRUE(daemon_->WaitForLog("stage_started"));
  KillDaemon();
  EXPECT_TRUE(stage->WaitForExit().has_value());
  ExpectTheNextStartServes(path);
}

TEST_F(DaemonCrashTest, ClientsOfAKilledDaemonKeepTheirBytes) {
  const std::string path = MakeModel("model", kModelBytes);
  Start();
  Stage("model");
  const auto first = Attach("model", {path});
  const auto second = Attach("model", {path});
  EXPECT_TRUE(first->LeaseHeld());
  KillDaemon();
  EXPECT_TRUE(first->WaitForNotice("notice lost")) << first->output();
  EXPECT_FALSE(first->LeaseHeld());
  EXPECT_THAT(first->Compare(), StartsWith("same "));

  ExpectTheNextStartServes(path);
  EXPECT_THAT(second->Compare(), StartsWith("same ")) << "after the next daemon's whole life";
  EXPECT_EQ(first->Leave(), std::optional(0)) << first->output();
  EXPECT_EQ(second->Leave(), std::optional(0)) << second->output();
}

TEST_F(DaemonCrashTest, CommandsAfterACrashSayThatNobodyIsThere) {
  Start();
  daemon_->Kill();
  const CommandResult listed = ctl_.Run({"ls"});
  EXPECT_EQ(listed.exit_code, kExitUnreachable) << listed;
  EXPECT_THAT(listed.err, HasSubstr(socket_dir_));
  AttachProbe probe(Probe("model", {}));
  EXPECT_THAT(probe.Attached(), StartsWith("refused UNAVAILABLE/UNREACHABLE"));
}

}  // namespace
}  // namespace weightd::testing
