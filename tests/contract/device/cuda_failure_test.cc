// What becomes of the driver's errors: the job's, with the driver's text, and never the process's.

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/cuda_driver.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "tests/contract/device/device_harness.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/fake_cuda/fake_cuda_control.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kBlockBytes = 64 * kKiB;
constexpr absl::Duration kLong = absl::Seconds(60);

class CudaFailureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    UseOwnFakeNode();
    control_ = FakeCudaControl::Find();
    if (!control_.has_value()) GTEST_SKIP() << "libcuda.so.1 is not the fake";
    ASSERT_OK_AND_ASSIGN(devices_, OpenCudaDevices());
    ASSERT_EQ(devices_.devices.size(), 2);
    ASSERT_OK(device().RegisterStaging(staging_.span()));
  }
  void TearDown() override {
    if (!control_.has_value()) return;
    control_->SetFailures("");
    control_->HoldCopies(false);
    if (!devices_.devices.empty()) device().UnregisterStaging(staging_.span());
    devices_.devices.clear();
    EXPECT_THAT(control_->TakeReports(), IsEmpty());
  }
  Device& device() { return *devices_.devices[0]; }
  CopyRequest Block(Allocation& to, uint64_t index) {
    return {&to, index * kBlockBytes, staging_.slot(index, kBlockBytes), index};
  }

  StagingMemory staging_{8 * kBlockBytes};  // outlives the devices
  std::optional<FakeCudaControl> control_;
  CudaDevices devices_;
};

TEST_F(CudaFailureTest, AllocationSaysHowMuchWasWantedAndIsFree) {
  control_->SetFailures("cuMemAlloc:1:CUDA_ERROR_OUT_OF_MEMORY");
  const auto refused = device().Allocate(100 * kMiB);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted,
                                AllOf(HasSubstr("104.9 MB"), HasSubstr("CUDA_ERROR_OUT_OF_MEMORY"),
                                      HasSubstr("8.6 GB of 8.6 GB are free"))));
  EXPECT_THAT(refused, ReasonIs(Reason::kDeviceFailed, _));
  EXPECT_OK(device().Allocate(100 * kMiB));
}

// The fake breaks the context when the second copy runs, as a GPU does that falls off the bus.
TEST_F(CudaFailureTest, StickyErrorFailsTheQueueWithTheDriversText) {
  control_->SetFailures("cuMemcpyHtoDAsync:2:CUDA_ERROR_ILLEGAL_ADDRESS:later");
  auto allocation = *device().Allocate(8 * kBlockBytes);
  auto queue = *device().CreateCopyQueue();
  absl::Status status;
  for (uint64_t i = 0; i < 4 && status.ok(); ++i) status = queue->Submit(Block(*allocation, i));
  while (status.ok() && queue->in_flight() > 0) status = queue->Poll(kLong, [](uint64_t) {});
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kInternal, AllOf(HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS"),
                                                          HasSubstr("illegal memory access"))));
  EXPECT_THAT(status, ReasonIs(Reason::kDeviceFailed, _));
  EXPECT_EQ(queue->Submit(Block(*allocation, 0)), status) << "the first error stays";
  EXPECT_EQ(queue->Finish(), status);
  EXPECT_THAT(device().Allocate(1), ReasonIs(Reason::kDeviceFailed, HasSubstr("ILLEGAL_ADDRESS")));
  queue.reset();
  allocation.reset();
  EXPECT_THAT(device().warnings(),
              Contains(Field(&Warning::text, HasSubstr("are lost until the daemon restarts"))));
  // The other GPU goes on.
  EXPECT_OK(devices_.devices[1]->Allocate(1));
}

TEST_F(CudaFailureTest, RefusedCopyFailsTheQueueAndNotTheNextOne) {
  control_->SetFailures("cuMemcpyHtoDAsync:1:CUDA_ERROR_UNKNOWN");
  const auto allocation = *device().Allocate(8 * kBlockBytes);
  const auto queue = *device().CreateCopyQueue();
  EXPECT_THAT(queue->Submit(Block(*allocation, 0)), ReasonIs(Reason::kDeviceFailed, _));
  EXPECT_THAT(queue->Finish(), ReasonIs(Reason::kDeviceFailed, _));
  const auto next = *device().CreateCopyQueue();
  EXPECT_OK(next->Submit(Block(*allocation, 0)));
  EXPECT_OK(next->Finish());
}

// The copy is on the stream and no event is behind it: the queue must not let go of its buffer.
TEST_F(CudaFailureTest, QueueWaitsForACopyThatItCouldNotTrack) {
  const auto allocation = *device().Allocate(8 * kBlockBytes);
  auto queue = *device().CreateCopyQueue();
  control_->SetFailures("cuEventRecord:1:CUDA_ERROR_UNKNOWN");
  FillPattern(staging_.slot(0, kBlockBytes), 6);
  EXPECT_THAT(queue->Submit(Block(*allocation, 0)), ReasonIs(Reason::kDeviceFailed, _));
  queue.reset();
  FillPattern(staging_.slot(0, kBlockBytes), 0);
  std::vector<std::byte> copied(kBlockBytes);
  ASSERT_OK(allocation->CopyOut(0, absl::MakeSpan(copied)));
  EXPECT_EQ(copied, Pattern(kBlockBytes, 6));
}

TEST_F(CudaFailureTest, PollReturnsAfterItsTimeoutWhenNothingIsDone) {
  const auto allocation = *device().Allocate(8 * kBlockBytes);
  const auto queue = *device().CreateCopyQueue();
  control_->HoldCopies(true);
  ASSERT_OK(queue->Submit(Block(*allocation, 0)));
  EXPECT_OK(queue->Poll(absl::Milliseconds(5), [](uint64_t) { ADD_FAILURE() << "not done yet"; }));
  EXPECT_EQ(queue->in_flight(), 1);
  control_->HoldCopies(false);
  uint64_t reported = 0;
  ASSERT_OK(queue->Poll(kLong, [&](uint64_t) { ++reported; }));
  EXPECT_EQ(reported, 1);
}

TEST_F(CudaFailureTest, MemoryThatCannotBeFreedIsAWarning) {
  auto allocation = *device().Allocate(2 * kMiB);
  control_->SetFailures("cuMemFree:1:CUDA_ERROR_UNKNOWN");
  allocation.reset();
  EXPECT_THAT(device().warnings(),
              Contains(AllOf(Field(&Warning::reason, WarningReason::kMemoryLost),
                             Field(&Warning::text, AllOf(HasSubstr("2.1 MB are lost"),
                                                         HasSubstr("CUDA_ERROR_UNKNOWN"))))));
  devices_.devices.erase(devices_.devices.begin());
  // The fake sees what was left behind.
  EXPECT_OK(devices_.devices[0]->RegisterStaging(staging_.span()));
  EXPECT_THAT(control_->TakeReports(), Contains(HasSubstr("are left in it")));
}

TEST_F(CudaFailureTest, StagingIsPinnedOnceForAllGpus) {
  EXPECT_OK(devices_.devices[1]->RegisterStaging(staging_.span()));
  device().UnregisterStaging(staging_.span());
  const auto allocation = *devices_.devices[1]->Allocate(kBlockBytes);
  const auto queue = *devices_.devices[1]->CreateCopyQueue();
  EXPECT_OK(queue->Submit(Block(*allocation, 0)));
  EXPECT_OK(queue->Finish());
  EXPECT_OK(device().RegisterStaging(staging_.span()));
  devices_.devices[1]->UnregisterStaging(staging_.span());
}

TEST_F(CudaFailureTest, StagingThatCannotBePinnedIsAnError) {
  device().UnregisterStaging(staging_.span());
  control_->SetFailures("cuMemHostRegister:1:CUDA_ERROR_OUT_OF_MEMORY");
  EXPECT_THAT(device().RegisterStaging(staging_.span()),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("pin 524.3 kB")));
  EXPECT_OK(device().RegisterStaging(staging_.span()));
  device().UnregisterStaging(staging_.span());
  device().UnregisterStaging(staging_.span());
  EXPECT_THAT(device().warnings(),
              Contains(Field(&Warning::text, HasSubstr("had not been registered"))));
  EXPECT_OK(device().RegisterStaging(staging_.span()));
}

// One stage and one export.
absl::Status Scenario() {
  ASSIGN_OR_RETURN(const CudaDevices devices, OpenCudaDevices());
  if (devices.devices.empty()) return absl::UnavailableError("no GPU is left");
  Device& device = *devices.devices[0];
  const StagingMemory staging(2 * kBlockBytes);
  RETURN_IF_ERROR(device.RegisterStaging(staging.span()));
  absl::Status result = [&] {
    ASSIGN_OR_RETURN(const auto allocation, device.Allocate(4 * kBlockBytes));
    ASSIGN_OR_RETURN(const auto queue, device.CreateCopyQueue());
    for (uint64_t i = 0; i < 2; ++i) {
      RETURN_IF_ERROR(
          queue->Submit({allocation.get(), i * kBlockBytes, staging.slot(i, kBlockBytes), i}));
    }
    RETURN_IF_ERROR(queue->Move(*allocation, 0, 2 * kBlockBytes, kBlockBytes));
    RETURN_IF_ERROR(queue->Poll(kLong, [](uint64_t) {}));
    RETURN_IF_ERROR(queue->Finish());
    RETURN_IF_ERROR(allocation->Seal());
    std::vector<std::byte> bytes(kBlockBytes);
    RETURN_IF_ERROR(allocation->CopyOut(0, absl::MakeSpan(bytes)));
    return allocation->CreateExport().status();
  }();
  device.UnregisterStaging(staging.span());
  return result;
}

// Calls that give something back: when they fail, something is left, and the fake says so.
bool GivesBack(const std::string& function) {
  for (const char* name : {"cuMemFree", "cuMemHostUnregister", "cuStreamDestroy", "cuEventDestroy",
                           "cuDevicePrimaryCtxRelease", "cuCtxPopCurrent", "cuCtxPushCurrent"}) {
    if (function == name) return true;
  }
  return false;
}

// Whatever a failure left behind: pops what is pushed, and releases the contexts to the last.
void DestroyAll() {
  const CudaDriver& driver = **CudaDriver::Load();
  FakeCudaControl::Find()->SetFailures("");
  CUcontext popped = nullptr;
  while (driver.cuCtxPopCurrent(&popped) == CUDA_SUCCESS) {
  }
  for (CUdevice device = 0; device < 2; ++device) {
    while (driver.cuDevicePrimaryCtxRelease(device) == CUDA_SUCCESS) {
    }
  }
  FakeCudaControl::Find()->TakeReports();
}

#define WEIGHTD_FUNCTION_NAME(name) #name,
constexpr const char* kFunctions[] = {WEIGHTD_CUDA_FUNCTIONS(WEIGHTD_FUNCTION_NAME)};
#undef WEIGHTD_FUNCTION_NAME

// Every entry point fails once at each of its first uses: no crash, no hang, an error with the
// driver's text or none at all, and nothing that the fake has to report.
TEST_F(CudaFailureTest, AnyCallMayFailAtAnyUse) {
  device().UnregisterStaging(staging_.span());
  devices_.devices.clear();
  ASSERT_OK(Scenario());
  for (const std::string function : kFunctions) {
    for (int nth = 1; nth <= 6; ++nth) {
      control_->SetFailures(absl::StrCat(function, ":", nth, ":CUDA_ERROR_NOT_PERMITTED"));
      const absl::Status status = Scenario();
      if (!status.ok() && status.code() != absl::StatusCode::kUnavailable) {
        EXPECT_THAT(std::string(status.message()), HasSubstr("CUDA_ERROR_NOT_PERMITTED"))
            << function << " " << nth;
      }
      const std::vector<std::string> reports = control_->TakeReports();
      if (GivesBack(function)) {
        DestroyAll();
        continue;
      }
      EXPECT_THAT(reports, IsEmpty()) << function << " " << nth;
    }
  }
  control_->SetFailures("");
  EXPECT_OK(Scenario());
  control_->TakeReports();
}

}  // namespace
}  // namespace weightd::testing
