#include "daemon/main/devices.h"

#include "common/errors.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::HasSubstr;
using testing::ReasonIs;

DaemonOptions HostOnly() {
  DaemonOptions options;
  options.cuda = CudaUse::kOff;
  return options;
}

TEST(DevicesTest, HostAloneIsTheDefaultWithHalfOfWhatIsAvailable) {
  ASSERT_OK_AND_ASSIGN(const DeviceSet set, OpenDevices(HostOnly()));
  ASSERT_EQ(set.devices.size(), 1u);
  EXPECT_EQ(set.default_device, "host");
  EXPECT_GT(set.budgets[0].bytes, 0u);
  EXPECT_EQ(set.budgets[0].bytes, set.devices[0]->info().free_bytes / 2);
}

// A GPU node with a program that cannot use its GPU: more than the usual word of a missing driver.
TEST(DevicesTest, ProgramWithoutCudaOnAMachineWithAGpuIsSaid) {
  const absl::Status status = absl::UnimplementedError("built without cuda.h");
  EXPECT_EQ(NoGpuWarning(status, true, "libcuda.so.1").reason, WarningReason::kNoGpu);
  EXPECT_EQ(NoGpuWarning(status, false, "").reason, WarningReason::kNoGpu);
  const Warning warning = NoGpuWarning(status, false, "/dev/nvidiactl");
  EXPECT_EQ(warning.reason, WarningReason::kBuiltWithoutCuda);
  EXPECT_THAT(warning.text, HasSubstr("there is one (/dev/nvidiactl)"));
  EXPECT_THAT(warning.text, HasSubstr("cuda.h"));
}

TEST(DevicesTest, GivenBudgetIsTaken) {
  DaemonOptions options = HostOnly();
  options.host_budget_bytes = 12345;
  ASSERT_OK_AND_ASSIGN(const DeviceSet set, OpenDevices(options));
  EXPECT_EQ(set.budgets[0].bytes, 12345u);
}

TEST(DevicesTest, ReserveIsTakenFromWhatThereIs) {
  ASSERT_OK_AND_ASSIGN(const DeviceSet usual, OpenDevices(HostOnly()));
  const uint64_t total = usual.devices[0]->info().total_bytes;
  DaemonOptions options = HostOnly();
  options.host_reserve_bytes = total - 1000;
  ASSERT_OK_AND_ASSIGN(DeviceSet set, OpenDevices(options));
  EXPECT_EQ(set.budgets[0].bytes, 1000u);
  EXPECT_EQ(set.budgets[0].reserve_bytes, total - 1000);
  options.host_budget_bytes = 1000;
  EXPECT_OK(OpenDevices(options));
  options.host_budget_bytes = 1001;
  EXPECT_THAT(OpenDevices(options),
              ReasonIs(Reason::kInvalidRequest, HasSubstr("host.reserve_bytes")));
}

TEST(DevicesTest, DefaultDeviceThatIsNotHereIsRefused) {
  DaemonOptions options = HostOnly();
  options.default_device = "GPU-1";
  EXPECT_THAT(OpenDevices(options), ReasonIs(Reason::kDeviceNotFound, HasSubstr("GPU-1")));
}

TEST(DevicesTest, BudgetOfAGpuThatIsNotHereIsRefused) {
  DaemonOptions options = HostOnly();
  options.gpu_budgets_bytes["GPU-1"] = 5;
  EXPECT_THAT(OpenDevices(options), ReasonIs(Reason::kDeviceNotFound, HasSubstr("GPU-1")));
}

}  // namespace
}  // namespace weightd
