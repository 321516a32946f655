// Driver calls that fail: that request fails with its reason, and the daemon goes on.

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/cuda_fixture.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class CudaFailureTest : public CudaTest {
 protected:
  void SetUp() override {
    if (on_real_gpu()) GTEST_SKIP() << "steers the fake driver";
  }
  void StartFailing(const std::string& plan) {
    path_ = MakeModel("model", 12 << 20);
    Start({"--cuda.enabled", "ON", "--metrics.address", "127.0.0.1:0"},
          {"WEIGHTD_FAKE_CUDA_FAIL=" + plan});
  }
  double DriverErrors(const char* operation) const {
    return MetricOf(absl::StrCat("weightd_driver_errors_total{device=\"", gpu_, "\",operation=\"",
                                 operation, "\"}"));
  }
  // The one failure is over: the same model works now.
  void ExpectTheDaemonGoesOn() {
    Stage("model");
    ExpectSameAsFiles("model", {path_});
    StopCleanly();
    ExpectNoReport();
  }
  std::string path_;
};

TEST_F(CudaFailureTest, FailedAllocationFailsItsStageAlone) {
  StartFailing("cuMemAlloc:1:CUDA_ERROR_OUT_OF_MEMORY");
  const CommandResult staged = ctl_.Run({"stage", "model", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitError) << staged;
  EXPECT_THAT(staged.err, AllOf(HasSubstr("stage model"), HasSubstr("CUDA_ERROR_OUT_OF_MEMORY")));
  EXPECT_EQ(EventsUntil("STAGE_FAILED").back()["reason"], "DEVICE_FAILED");
  EXPECT_EQ(UsedBytes(gpu_), 0);
  EXPECT_EQ(DriverErrors("allocate"), 1);
  EXPECT_EQ(DriverErrors("copy"), 0);
  ExpectTheDaemonGoesOn();
}

TEST_F(CudaFailureTest, FailedCopyFailsItsStageAlone) {
  StartFailing("cuMemcpyHtoDAsync:2:CUDA_ERROR_UNKNOWN");
  const CommandResult staged = ctl_.Run({"stage", "model", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitError) << staged;
  EXPECT_THAT(staged.err, AllOf(HasSubstr("stage model"), HasSubstr("CUDA_ERROR_UNKNOWN")));
  EXPECT_EQ(UsedBytes(gpu_), 0);
  EXPECT_EQ(DriverErrors("copy"), 1);
  ExpectTheDaemonGoesOn();
}

TEST_F(CudaFailureTest, FailedExportNeverReachesAClient) {
  StartFailing("cuIpcGetMemHandle:1:CUDA_ERROR_UNKNOWN");
  const CommandResult staged = ctl_.Run({"stage", "model", "--wait"});
  if (staged.exit_code == kExitOk) {
    AttachProbe probe(Probe("model", {path_}));
    EXPECT_THAT(probe.Attached(), AllOf(StartsWith("refused "), HasSubstr("CUDA_ERROR_UNKNOWN")));
    EXPECT_EQ(LeaseCount(), 0);
  } else {
    EXPECT_THAT(staged.err, HasSubstr("CUDA_ERROR_UNKNOWN"));
  }
  ExpectTheDaemonGoesOn();
}

// A copy that fails while it runs breaks the context for good; host memory and everything that only
// asks must still work.
TEST_F(CudaFailureTest, BrokenContextLeavesHostMemoryServing) {
  StartFailing("cuMemcpyHtoDAsync:1:CUDA_ERROR_ILLEGAL_ADDRESS:later");
  const CommandResult staged = ctl_.Run({"stage", "model", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitError) << staged;
  EXPECT_THAT(staged.err, HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS"));
  EXPECT_EQ(ctl_.Run({"stage", "model", "--wait", "--device", "host"}).exit_code, kExitOk);
  ExpectSameAsFiles("model", {path_}, "host");
  EXPECT_EQ(ctl_.Run({"health"}).exit_code, kExitOk);
  StopCleanly();
}

TEST_F(CudaTest, ModelAboveTheGpusBudgetIsRefusedWithTheNumbers) {
  MakeModel("model", 12 << 20);
  Start({"--cuda.enabled", "ON", "--cuda.budget-bytes", absl::StrCat(8 << 20)});
  const CommandResult staged = ctl_.Run({"stage", "model", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitError) << staged;
  EXPECT_THAT(staged.err, AllOf(HasSubstr("does not fit on " + gpu_), HasSubstr("budget 8")));
  StopCleanly();
  ExpectNoReport();
}

TEST_F(CudaTest, CudaThatIsWantedAndNotThereIsRefusedAtStart) {
  if (on_real_gpu()) GTEST_SKIP() << "this node has a real driver";
  DaemonProcess daemon({.root = root_,
                        .socket_dir = socket_dir_,
                        .flags = {"--cuda.enabled", "ON"},
                        .environment = {"LD_LIBRARY_PATH="}});
  if (daemon.WaitUntilServing()) GTEST_SKIP() << "this node has a real driver";
  EXPECT_EQ(daemon.WaitForExit(), std::optional(1));
  EXPECT_THAT(daemon.log(), HasSubstr("cuda.enabled is ON"));
}

}  // namespace
}  // namespace weightd::testing
