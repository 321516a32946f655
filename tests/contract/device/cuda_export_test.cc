// CUDA exports as a client sees them, in another process: on the fake driver, and where it is not
// the driver, on a real one, by what does not steer the fake.

#include <sys/wait.h>

#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/cuda_driver.h"
#include "tests/contract/device/checksum.h"
#include "tests/contract/device/device_harness.h"
#include "tests/contract/device/peer_process.h"
#include "tests/support/common/read_file.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/fake_cuda/fake_cuda_control.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kBytes = 2 * kMiB;

class CudaExportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    UseOwnFakeNode();
    control_ = FakeCudaControl::Find();
    auto devices = OpenCudaDevices();
    if (!control_.has_value() && (!devices.ok() || devices->devices.empty())) {
      GTEST_SKIP() << "libcuda.so.1 is not the fake, and there is no GPU";
    }
    ASSERT_OK(devices);
    devices_ = *std::move(devices);
    if (control_.has_value()) {
      ASSERT_EQ(devices_.devices.size(), 2);
    }
  }
  void TearDown() override {
    devices_.devices.clear();
    if (control_.has_value()) {
      EXPECT_THAT(control_->TakeReports(), IsEmpty());
    }
  }

  // A sealed allocation of the first GPU, full of Pattern(kBytes, seed).
  std::unique_ptr<Allocation> Staged(uint64_t seed) {
    Device& device = *devices_.devices[0];
    auto allocation = *device.Allocate(kBytes);
    const StagingMemory staging(kBytes);
    FillPattern(staging.span(), seed);
    EXPECT_OK(device.RegisterStaging(staging.span()));
    {
      const auto queue = *device.CreateCopyQueue();
      EXPECT_OK(queue->Submit({allocation.get(), 0, staging.span(), 0}));
      EXPECT_OK(queue->Finish());
    }
    device.UnregisterStaging(staging.span());
    EXPECT_OK(allocation->Seal());
    return allocation;
  }
  static std::string HandleOf(const Allocation& allocation) {
    const auto exported = allocation.CreateExport();
    EXPECT_OK(exported);
    return absl::BytesToHexString(exported->cuda_ipc_handle);
  }
  const std::string& Uuid(size_t index) const { return devices_.devices[index]->info().id; }
  std::vector<std::string> ReadCommand(const std::string& handle) const {
    return {"read", Uuid(0), handle, absl::StrCat(kBytes)};
  }

  std::optional<FakeCudaControl> control_;
  CudaDevices devices_;
};

class FakeCudaExportTest : public CudaExportTest {
 protected:
  void SetUp() override {
    CudaExportTest::SetUp();
    if (!control_.has_value()) GTEST_SKIP() << "libcuda.so.1 is not the fake";
  }
};

TEST_F(CudaExportTest, AnotherProcessReadsTheBytes) {
  const auto allocation = Staged(42);
  PeerProcess peer(ReadCommand(HandleOf(*allocation)));
  const std::string output = peer.Finish();
  EXPECT_EQ(ValueOf(output, "open"), "CUDA_SUCCESS") << output;
  EXPECT_EQ(ValueOf(output, "read"), "CUDA_SUCCESS");
  const std::vector<std::byte> wanted = Pattern(kBytes, 42);
  EXPECT_EQ(ValueOf(output, "sum"), absl::StrCat(Checksum(wanted.data(), wanted.size())));
  EXPECT_EQ(ValueOf(output, "close"), "CUDA_SUCCESS");
  EXPECT_EQ(peer.exit_status(), std::optional(0));
}

TEST_F(FakeCudaExportTest, SaysWhichNodeIsNearEachGpu) {
  EXPECT_EQ(devices_.devices[0]->info().numa_node, 0);
  EXPECT_EQ(devices_.devices[1]->info().numa_node, -1);
}

TEST_F(CudaExportTest, DoesNotOpenInItsOwnProcess) {
  const auto allocation = Staged(1);
  ASSERT_OK_AND_ASSIGN(const Export exported, allocation->CreateExport());
  ASSERT_OK_AND_ASSIGN(const CudaDriver* driver, CudaDriver::Load());
  CUcontext context = nullptr;
  ASSERT_EQ(driver->cuDevicePrimaryCtxRetain(&context, 0), CUDA_SUCCESS);
  {
    ASSERT_OK_AND_ASSIGN(const ScopedCudaContext current,
                         ScopedCudaContext::Push(*driver, context));
    CUipcMemHandle handle{};
    exported.cuda_ipc_handle.copy(handle.reserved, sizeof(handle.reserved));
    CUdeviceptr address = 0;
    EXPECT_EQ(driver->cuIpcOpenMemHandle(&address, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS),
              CUDA_ERROR_INVALID_CONTEXT);
  }
  EXPECT_EQ(driver->cuDevicePrimaryCtxRelease(0), CUDA_SUCCESS);
}

TEST_F(CudaExportTest, DoesNotOpenInAnotherPidNamespace) {
  const auto allocation = Staged(1);
  std::vector<std::string> command = ReadCommand(HandleOf(*allocation));
  command.insert(command.begin(), "newpid");
  PeerProcess peer(command);
  const std::string output = peer.Finish();
  if (ValueOf(output, "newpid") == "skipped") GTEST_SKIP() << "unshare(CLONE_NEWPID) is refused";
  // Driver 580 on an H200 opened it where the namespace had its own /proc; the double is as the
  // driver's documentation has it.
  if (!control_.has_value()) {
    std::cout << "another PID namespace: open=" << ValueOf(output, "open") << std::endl;
    return;
  }
  EXPECT_EQ(ValueOf(output, "open"), "CUDA_ERROR_INVALID_CONTEXT") << output;
}

TEST_F(FakeCudaExportTest, DoesNotOpenOnAnotherGpu) {
  const auto allocation = Staged(1);
  std::vector<std::string> command = ReadCommand(HandleOf(*allocation));
  command[1] = Uuid(1);
  EXPECT_EQ(ValueOf(PeerProcess(command).Finish(), "open"), "CUDA_ERROR_INVALID_DEVICE");
}

TEST_F(CudaExportTest, DoesNotOpenByBadBytes) {
  const std::vector<std::string> command = ReadCommand(std::string(128, '0'));
  EXPECT_EQ(ValueOf(PeerProcess(command).Finish(), "open"), "CUDA_ERROR_INVALID_VALUE");
}

TEST_F(CudaExportTest, DoesNotOpenOnceFreed) {
  auto allocation = Staged(1);
  const std::string handle = HandleOf(*allocation);
  allocation.reset();
  EXPECT_EQ(ValueOf(PeerProcess(ReadCommand(handle)).Finish(), "open"), "CUDA_ERROR_INVALID_VALUE");
}

// What the fake is for: memory that is freed under a client is the daemon's mistake, and the
// client's next read fails.
TEST_F(FakeCudaExportTest, FreeUnderAClientIsReportedAndItsReadFails) {
  auto allocation = Staged(1);
  std::vector<std::string> command = ReadCommand(HandleOf(*allocation));
  command.push_back("wait");
  PeerProcess peer(command);
  ASSERT_EQ(peer.ReadLine(), "open=CUDA_SUCCESS");
  allocation.reset();
  EXPECT_THAT(control_->TakeReports(),
              ElementsAre(HasSubstr("another process has the memory open")));
  EXPECT_EQ(ValueOf(peer.Finish(), "read"), "CUDA_ERROR_ILLEGAL_ADDRESS");
}

TEST_F(CudaExportTest, FreeAfterAClientWasKilledIsNotReported) {
  auto allocation = Staged(1);
  std::vector<std::string> command = ReadCommand(HandleOf(*allocation));
  command.push_back("wait");
  PeerProcess peer(command);
  ASSERT_EQ(peer.ReadLine(), "open=CUDA_SUCCESS");
  peer.Kill();
  allocation.reset();  // TearDown() asks for reports
}

TEST_F(FakeCudaExportTest, MemoryIsCountedOverProcessesAndComesBackFromTheKilled) {
  const auto used = [] {
    const auto devices = OpenCudaDevices();
    const DeviceInfo& info = devices->devices.front()->info();
    return info.total_bytes - info.free_bytes;
  };
  PeerProcess peer({"export", absl::StrCat(4 * kMiB)});
  const std::string handle = ValueOf(peer.ReadLine(), "handle");
  EXPECT_EQ(used(), 4 * kMiB);
  peer.Kill();
  EXPECT_EQ(used(), 0);
  EXPECT_EQ(ValueOf(PeerProcess(ReadCommand(handle)).Finish(), "open"), "CUDA_ERROR_INVALID_VALUE");
}

TEST_F(FakeCudaExportTest, LeaksAreReportedAtExit) {
  const TempDir directory;
  const std::string report = directory.File("report");
  PeerProcess peer({"leak"}, {"WEIGHTD_FAKE_CUDA_REPORT=" + report});
  peer.Finish();
  const std::string text = ReadFile(report);
  for (const char* what : {"1 allocations were not freed", "1 streams were", "1 events were",
                           "1 host registrations", "1 primary contexts", "1 contexts are still"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("fake_cuda: at exit: ", what)));
  }
  PeerProcess good({"open"}, {"WEIGHTD_FAKE_CUDA_REPORT=" + report + "-good"});
  good.Finish();
  EXPECT_EQ(ReadFile(report + "-good"), "");
}

TEST_F(FakeCudaExportTest, GpusThatCannotBeUsedAreSkippedWithASentence) {
  PeerProcess peer({"open"}, {"WEIGHTD_FAKE_CUDA_DEVICES=5", "WEIGHTD_FAKE_CUDA_MIG=1",
                              "WEIGHTD_FAKE_CUDA_PROHIBITED=2", "WEIGHTD_FAKE_CUDA_NO_IPC=3",
                              "WEIGHTD_FAKE_CUDA_NO_UVA=4"});
  const std::string output = peer.Finish();
  EXPECT_EQ(ValueOf(output, "version"), "13000");
  EXPECT_EQ(ValueOf(output, "device"), "GPU-fa4ec0da-0000-4000-8000-000000000000");
  for (const char* sentence :
       {"skipped=GPU 1 (Fake GPU", "is a MIG instance", "skipped=GPU 2",
        "compute mode is prohibited", "skipped=GPU 3", "does not support CUDA IPC", "skipped=GPU 4",
        "unified addressing"}) {
    EXPECT_THAT(output, HasSubstr(sentence));
  }
}

TEST_F(FakeCudaExportTest, VisibleDevicesAndAbsentOnesAreTakenAsTheDriverDoes) {
  PeerProcess one({"open"}, {"CUDA_VISIBLE_DEVICES=1"});
  EXPECT_EQ(ValueOf(one.Finish(), "device"), "GPU-fa4ec0da-0000-4000-8000-000000000001");
  PeerProcess by_uuid({"open"},
                      {"CUDA_VISIBLE_DEVICES=GPU-fa4ec0da-0000-4000-8000-000000000001,7,0"});
  EXPECT_EQ(ValueOf(by_uuid.Finish(), "device"), "GPU-fa4ec0da-0000-4000-8000-000000000001");
  PeerProcess none({"open"}, {"CUDA_VISIBLE_DEVICES="});
  EXPECT_THAT(ValueOf(none.Finish(), "error"), HasSubstr("CUDA_ERROR_NO_DEVICE"));
}

TEST_F(FakeCudaExportTest, FailuresOfTheDriverAtTheStartAreTold) {
  PeerProcess init({"open"}, {"WEIGHTD_FAKE_CUDA_FAIL=cuInit:1:CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"});
  EXPECT_THAT(ValueOf(init.Finish(), "error"), HasSubstr("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"));
  PeerProcess retain(
      {"open"},
      {"WEIGHTD_FAKE_CUDA_FAIL=cuDevicePrimaryCtxRetain:1:CUDA_ERROR_DEVICE_UNAVAILABLE"});
  const std::string output = retain.Finish();
  EXPECT_THAT(ValueOf(output, "skipped"), HasSubstr("busy or unavailable"));
  EXPECT_EQ(ValueOf(output, "device"), Uuid(1)) << "one bad GPU does not take the other away";
}

}  // namespace
}  // namespace weightd::testing
