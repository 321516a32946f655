// What Prometheus scrapes, over HTTP.

#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/http_get.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class MetricsTest : public DaemonTest {
 protected:
  void StartWithMetrics(std::vector<std::string> flags = {},
                        const std::vector<std::string>& environment = {}) {
    flags.insert(flags.end(), {"--metrics.address", "127.0.0.1:0"});
    Start(std::move(flags), environment);
  }
  double Refusals(const char* request, const char* reason) const {
    return MetricOf(
        absl::StrCat("weightd_refusals_total{reason=\"", reason, "\",request=\"", request, "\"}"));
  }
};

TEST_F(MetricsTest, TellWhatIsAndWhatHappened) {
  const std::string path = MakeModel("m", 1 << 20);
  StartWithMetrics();
  EXPECT_THAT(Metrics(), AllOf(HasSubstr("# TYPE weightd_memory_used_bytes gauge"),
                               HasSubstr("# TYPE weightd_stages_total counter"),
                               HasSubstr("weightd_build_info{version=\"")));
  // From the start: an increase is seen only of a series that is there.
  EXPECT_EQ(MetricOf("weightd_verify_failures_total{device=\"host\"}"), 0);
  EXPECT_EQ(MetricOf("weightd_memory_used_bytes{device=\"host\",tier=\"host\"}"), 0);

  Stage("m");
  EXPECT_EQ(MetricOf("weightd_stages_total{result=\"done\"}"), 1);
  EXPECT_GE(MetricOf("weightd_staged_bytes_total{device=\"host\",source=\"volume\",tier=\"host\"}"),
            1 << 20);
  EXPECT_EQ(MetricOf("weightd_memory_used_bytes{device=\"host\",tier=\"host\"}"), UsedBytes());
  EXPECT_GT(MetricOf("weightd_memory_budget_bytes{device=\"host\",tier=\"host\"}"), 1 << 20);
  const auto holder = Attach("m", {path});
  EXPECT_EQ(MetricOf("weightd_leases{device=\"host\"}"), 1);
  EXPECT_EQ(MetricOf("weightd_memory_leased_bytes{device=\"host\",tier=\"host\"}"), UsedBytes());
  EXPECT_EQ(ctl_.Run({"verify", "m"}).exit_code, kExitOk);
  EXPECT_EQ(MetricOf("weightd_verified_copies_total{device=\"host\"}"), 1);
  EXPECT_EQ(MetricOf("weightd_verified_bytes_total{device=\"host\"}"), 1 << 20);
  EXPECT_EQ(MetricOf("weightd_verify_failures_total{device=\"host\"}"), 0);
  EXPECT_EQ(holder->Leave(), 0);
  StopCleanly();
}

TEST_F(MetricsTest, FailuresAndEvictionsCount) {
  MakeModel("m", 1 << 20);
  ASSERT_OK(WriteRawFile(InRoot("bad.safetensors"), "no header"));
  StartWithMetrics();
  EXPECT_EQ(ctl_.Run({"stage", "bad", "--wait"}).exit_code, kExitIntegrity);
  EXPECT_EQ(MetricOf("weightd_stages_total{result=\"failed\"}"), 1);
  Stage("m");
  EXPECT_EQ(ctl_.Run({"evict", "m"}).exit_code, kExitOk);
  EXPECT_EQ(MetricOf("weightd_evictions_total{device=\"host\",reason=\"OPERATOR\"}"), 1);
}

// Whether a model was there when somebody attached to it, and why he got nothing.
TEST_F(MetricsTest, HitsMissesAndRefusals) {
  const std::string path = MakeModel("m", 1 << 20);
  StartWithMetrics();
  EXPECT_EQ(Refusals("attach", "MODEL_NOT_RESIDENT"), 0);
  EXPECT_FALSE(AttachProbe(Probe("m", {})).is_attached());
  EXPECT_EQ(Refusals("attach", "MODEL_NOT_RESIDENT"), 1);
  EXPECT_EQ(MetricOf("weightd_attach_misses_total"), 1);
  EXPECT_EQ(ctl_.Run({"stage", "m", "--device", "GPU-nowhere", "--wait"}).exit_code, kExitNotFound);
  EXPECT_EQ(Refusals("stage", "DEVICE_NOT_FOUND"), 1);
  Stage("m");
  Stage("m");
  EXPECT_EQ(MetricOf("weightd_stages_total{result=\"done\"}"), 1);
  EXPECT_EQ(MetricOf("weightd_stages_total{result=\"already_resident\"}"), 1);
  ExpectSameAsFiles("m", {path});
  EventsUntil("LEASE_ENDED");
  EXPECT_EQ(MetricOf("weightd_attach_hits_total"), 1);
  EXPECT_EQ(MetricOf("weightd_attach_duration_seconds_count{result=\"hit\"}"), 1);
  EXPECT_EQ(MetricOf("weightd_leases_granted_total{device=\"host\"}"), 1);
  EXPECT_EQ(MetricOf("weightd_leases_ended_total{device=\"host\",reason=\"STREAM_ENDED\"}"), 1);
}

// What operators asked for and did not get.
TEST_F(MetricsTest, RefusalsOfWhatOperatorsAsk) {
  const std::string path = MakeModel("m", 1 << 20);
  StartWithMetrics();
  for (const char* request : {"evict", "verify", "pin", "unpin"}) {
    EXPECT_EQ(Refusals(request, "MODEL_NOT_RESIDENT"), 0);
    EXPECT_EQ(ctl_.Run({request, "m"}).exit_code, kExitNotReady);
    EXPECT_EQ(Refusals(request, "MODEL_NOT_RESIDENT"), 1);
    EXPECT_EQ(Refusals(request, "DRAINING"), 0) << "from the start";
  }
  Stage("m");
  EXPECT_EQ(ctl_.Run({"pin", "m"}).exit_code, kExitOk);
  EXPECT_EQ(ctl_.Run({"evict", "m"}).exit_code, kExitNotReady);
  EXPECT_EQ(Refusals("evict", "MODEL_BUSY"), 1) << "it is pinned";
  EXPECT_EQ(ctl_.Run({"unpin", "m"}).exit_code, kExitOk);
  {
    const auto holder = Attach("m", {path});
    EXPECT_EQ(ctl_.Run({"evict", "m"}).exit_code, kExitNotReady);
    EXPECT_EQ(Refusals("evict", "MODEL_LEASED"), 1);
  }
  EXPECT_EQ(Refusals("evict", "MODEL_NOT_RESIDENT"), 1) << "of before";
  EXPECT_EQ(Refusals("pin", "MODEL_NOT_RESIDENT"), 1);
  for (const char* request : {"evict", "verify", "pin", "unpin"}) {
    EXPECT_EQ(ctl_.Run({request, "unknown"}).exit_code, kExitNotFound);
    EXPECT_EQ(Refusals(request, "MODEL_NOT_FOUND"), 1);
  }
}

TEST_F(MetricsTest, ReadsThatWereMadeAgain) {
  const std::string path = MakeModel("m", 1 << 20);
  StartWithMetrics(kPread, FaultPreload({"WEIGHTD_FAULT_PATH=/m.safetensors",
                                         "WEIGHTD_FAULT_OFFSET=500000", "WEIGHTD_FAULT_TIMES=2"}));
  EXPECT_EQ(MetricOf("weightd_volume_read_retries_total"), 0);
  Stage("m");
  ExpectSameAsFiles("m", {path});
  EXPECT_EQ(MetricOf("weightd_volume_read_retries_total"), 2);
}

TEST_F(MetricsTest, CallersWhomNoListNames) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to run clients as another user";
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  StartWithMetrics();
  const char* attach = "weightd_access_refusals_total{right=\"attach\"}";
  const char* operate = "weightd_access_refusals_total{right=\"operate\"}";
  EXPECT_EQ(MetricOf(attach), 0);
  EXPECT_EQ(MetricOf(operate), 0);
  EXPECT_EQ(ctl_.RunAs(kNobody, kOurGroup, {"stage", "m"}).exit_code, kExitNotPermitted);
  EXPECT_EQ(MetricOf(operate), 1);
  EXPECT_EQ(Refusals("stage", "PERMISSION_DENIED"), 1);
  EXPECT_EQ(ctl_.RunAs(kNobody, kOurGroup, {"evict", "m"}).exit_code, kExitNotPermitted);
  EXPECT_EQ(Refusals("evict", "PERMISSION_DENIED"), 1);
  daemon_.reset();
  StartWithMetrics({"--access.attach-uid", "0", "--access.attach-gid", "1"});
  EXPECT_EQ(ctl_.RunAs(kNobody, kOurGroup, {"ps"}).exit_code, kExitNotPermitted);
  EXPECT_GE(MetricOf(attach), 1);
  EXPECT_EQ(MetricOf(operate), 0);
}

TEST_F(MetricsTest, MemoryThatClientsKeepAfterAnEviction) {
  const std::string path = MakeModel("m", 1 << 20);
  StartWithMetrics();
  Stage("m");
  const std::string held =
      "weightd_memory_held_after_eviction_bytes{device=\"host\",tier=\"host\"}";
  {
    const auto holder = Attach("m", {path});
    EXPECT_EQ(MetricOf(held), 0);
    MakeModel("m", 1 << 20, /*seed=*/2);
    Stage("m");
    EXPECT_EQ(MetricOf(held), UsedBytes() / 2);
  }
  EXPECT_TRUE(WaitUntil([&] { return MetricOf(held) == 0; }));
  EXPECT_TRUE(WaitUntil([&] {
    return MetricOf("weightd_evictions_total{device=\"host\",reason=\"SUPERSEDED\"}") == 1;
  }));
}

// More than a server with a thread for each of a few connections has. Half of them have begun a
// request. What they keep out answers only when they go, after this test's time.
TEST_F(MetricsTest, ConnectionsThatSayNothingDoNotKeepTheScraperOut) {
  StartWithMetrics();
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 48; ++i) {
    absl::StatusOr<UniqueFd> connection = ConnectToPort(MetricsPort());
    ASSERT_OK(connection);
    const std::string begin = "GET /metrics HTTP/1.1\r\n";
    if (i % 2 == 0) {
      ASSERT_EQ(::write(connection->get(), begin.data(), begin.size()),
                static_cast<ssize_t>(begin.size()));
    }
    silent.push_back(*std::move(connection));
  }
  EXPECT_GT(MetricOf("weightd_memory_budget_bytes{device=\"host\",tier=\"host\"}"), 0);
  StopCleanly();
}

TEST_F(MetricsTest, NobodyListensUnlessAsked) {
  Start();
  EXPECT_EQ(Metrics(), "");
}

TEST_F(MetricsTest, AddressThatCannotBeHadIsRefusedAtTheStart) {
  for (const char* address : {"192.0.2.1:9464", "nonsense", "127.0.0.1:99999"}) {
    DaemonProcess daemon(
        {.root = root_, .socket_dir = socket_dir_, .flags = {"--metrics.address", address}});
    EXPECT_EQ(daemon.WaitForExit(), 1) << daemon.log();
    EXPECT_THAT(daemon.log(), AllOf(HasSubstr(absl::StrCat("cannot listen on ", address)),
                                    HasSubstr("metrics.address")));
  }
}

}  // namespace
}  // namespace weightd::testing
