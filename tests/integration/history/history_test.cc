// Many clients of a daemon whose budget is too small, with everything that can happen to them at
// once: see history_judge.h for what has to hold.
//
//   WEIGHTD_HISTORY_SEED=N      the run of that seed again, as far as the machine plays along
//   WEIGHTD_HISTORY_CLIENTS=N   a longer one

#include "tests/integration/history/history_run.h"

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/history/history_judge.h"
#include "tests/integration/history/process_footprint.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

// The eight models take about 60 MiB, the largest 12.
constexpr uint64_t kBudgetBytes = 22 << 20;
// What the daemon's heap may keep: arenas of malloc (one per thread that ever allocated, each keeps
// what was freed in its middle), and gRPC's caches. Models are not in it.
constexpr uint64_t kHeapGrowthMax = 64 << 20;

class HistoryTest : public DaemonTest {
 protected:
  HistoryTest() { std::filesystem::create_directory(workshop_); }

  RunOptions Options() const {
    RunOptions options;
    options.seed = seed_;
    options.clients.socket_dir = socket_dir_;
    options.operators.socket_dir = socket_dir_;
    return options;
  }

  // Only the first breaches: one cause has many.
  void ExpectGood(const Verdict& verdict) const {
    constexpr size_t kShown = 20;
    std::cout << "WEIGHTD_HISTORY_SEED=" << seed_ << ": " << verdict.figures << std::endl;
    std::vector<std::string> shown = verdict.breaches;
    shown.resize(std::min(shown.size(), kShown));
    EXPECT_EQ(verdict.breaches.size(), 0) << absl::StrJoin(shown, "\n");
  }

  // Of a daemon that has begun to watch its roots, which it does beside serving.
  ProcessFootprint FootprintAtRest() const {
    EXPECT_EQ(ctl_.Run({"ls"}).exit_code, kExitOk);
    return ReadFootprint(daemon_->pid());
  }

  // Nothing of the run is left in the daemon.
  void ExpectBackAt(const ProcessFootprint& before) const {
    EXPECT_EQ(LeaseCount(), 0);
    EXPECT_EQ(UsedBytes(), 0);
    ProcessFootprint after;
    const auto is_back = [&] {
      after = ReadFootprint(daemon_->pid());
      return after.descriptors <= before.descriptors && after.memfds <= before.memfds &&
             after.shared_bytes <= before.shared_bytes &&
             after.hugetlb_bytes <= before.hugetlb_bytes;
    };
    EXPECT_TRUE(WaitUntil(is_back)) << "before " << before << ", after " << after;
    EXPECT_LE(after.heap_bytes, before.heap_bytes + kHeapGrowthMax);
    std::cout << "before " << before << "\nafter " << after << std::endl;
  }

  const uint64_t seed_ = HistorySeed();
  const std::string workshop_ = dir_.File("workshop");
  VolumePublisher publisher_{root_, workshop_};
};

TEST_F(HistoryTest, ClientsReadWhatTheyWereGrantedWhateverHappens) {
  SCOPED_TRACE(absl::StrCat("WEIGHTD_HISTORY_SEED=", seed_));
  ASSERT_OK(publisher_.PublishAll());
  ASSERT_NE(Start({"--host.budget-bytes", absl::StrCat(kBudgetBytes), "--staging.jobs-max", "3"}),
            nullptr);
  const ProcessFootprint before = FootprintAtRest();
  RunOptions options = Options();
  options.clients.count = HistoryClientCount(200);
  options.operators.graces = {absl::ZeroDuration(), absl::Milliseconds(40),
                              absl::Milliseconds(300)};
  const Verdict verdict = Judge(RunHistory(options, publisher_));
  ExpectGood(verdict);
  EXPECT_EQ(verdict.figures.clients, options.clients.count);
  EXPECT_GT(verdict.figures.granted, options.clients.count / 2);
  EXPECT_GT(verdict.figures.killed_holding, 0);
  EXPECT_GT(verdict.figures.used_bytes_max, kBudgetBytes / 2);
  ExpectBackAt(before);
  StopCleanly();
}

// On the fake driver, two GPUs and the host tier, between which copies are promoted and demoted; or
// on the one real GPU that WEIGHTD_TEST_GPU names.
class CudaHistoryTest : public HistoryTest {
 protected:
  CudaHistoryTest() {
    if (!RealGpu().has_value()) environment_ = FakeCuda(node_, report_);
    if (!environment_.empty()) environment_.push_back("WEIGHTD_FAKE_CUDA_DEVICES=2");
  }
  ~CudaHistoryTest() override {
    std::error_code ignored;  // a killed process leaves its counter of memory
    std::filesystem::remove_all("/dev/shm/weightd-fake-cuda-" + node_, ignored);
  }

  const std::string node_ = std::filesystem::path(dir_.path()).filename().string();
  const std::string report_ = dir_.File("fake_cuda_report");
};

TEST_F(CudaHistoryTest, ClientsOfGpusReadWhatTheyWereGranted) {
  if (environment_.empty() && !RealGpu().has_value()) {
    GTEST_SKIP() << "the fake driver is not built: no cuda.h";
  }
  SCOPED_TRACE(absl::StrCat("WEIGHTD_HISTORY_SEED=", seed_));
  ASSERT_OK(publisher_.PublishAll());
  ASSERT_NE(Start({"--cuda.enabled", "ON", "--cuda.budget-bytes", absl::StrCat(kBudgetBytes),
                   "--host.budget-bytes", absl::StrCat(kBudgetBytes), "--staging.jobs-max", "3"}),
            nullptr);
  std::vector<std::string> devices = {std::string(kFakeGpu), std::string(kSecondFakeGpu), "host"};
  if (RealGpu().has_value()) devices = {*RealGpu(), "host"};
  RunOptions options = Options();
  options.clients.count = HistoryClientCount(100);
  options.clients.devices = devices;
  options.clients.environment = environment_;
  // A GPU's memory goes from under whoever does not leave in time: that is what force means there.
  options.clients.leave_when_revoking = true;
  options.operators.devices = devices;
  options.operators.graces = {absl::Seconds(3)};
  const Verdict verdict = Judge(RunHistory(options, publisher_));
  ExpectGood(verdict);
  EXPECT_EQ(verdict.figures.clients, options.clients.count);
  EXPECT_GT(verdict.figures.granted, options.clients.count / 2);
  // One real GPU is faster: clients may leave before another model wants their room.
  if (!RealGpu().has_value()) {
    EXPECT_GT(verdict.figures.demotions, 0);
  }
  EXPECT_EQ(LeaseCount(), 0);
  for (const std::string& device : devices) EXPECT_EQ(UsedBytes(device), 0);
  StopCleanly();
  EXPECT_FALSE(std::filesystem::exists(report_)) << "the fake driver reports misuse";
}

}  // namespace
}  // namespace weightd::testing
