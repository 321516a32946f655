// The fake driver's own tests: each harsh check fires, and a proper use is not reported.

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "common/cuda_driver.h"
#include "tests/contract/device/device_harness.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/fake_cuda/fake_cuda_control.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr size_t kBytes = size_t{2} << 20;

class FakeCudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    UseOwnFakeNode();
    control_ = FakeCudaControl::Find();
    if (!control_.has_value()) GTEST_SKIP() << "libcuda.so.1 is not the fake";
    ASSERT_OK_AND_ASSIGN(cuda_, CudaDriver::Load());
    ASSERT_EQ(cuda_->cuDevicePrimaryCtxRetain(&context_, 0), CUDA_SUCCESS);
    ASSERT_EQ(cuda_->cuCtxPushCurrent(context_), CUDA_SUCCESS);
    ASSERT_EQ(cuda_->cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
    ASSERT_EQ(cuda_->cuMemAlloc(&memory_, kBytes), CUDA_SUCCESS);
    ASSERT_EQ(cuda_->cuMemHostRegister(host_.span().data(), kBytes, 0), CUDA_SUCCESS);
  }
  void TearDown() override {
    if (!control_.has_value()) return;
    control_->HoldCopies(false);
    control_->SetFailures("");
    EXPECT_EQ(cuda_->cuStreamSynchronize(stream_), CUDA_SUCCESS);
    EXPECT_EQ(cuda_->cuStreamDestroy(stream_), CUDA_SUCCESS);
    EXPECT_EQ(cuda_->cuMemHostUnregister(host_.span().data()), CUDA_SUCCESS);
    EXPECT_EQ(cuda_->cuMemFree(memory_), CUDA_SUCCESS);
    CUcontext popped = nullptr;
    EXPECT_EQ(cuda_->cuCtxPopCurrent(&popped), CUDA_SUCCESS);
    EXPECT_EQ(cuda_->cuDevicePrimaryCtxRelease(0), CUDA_SUCCESS);
    EXPECT_THAT(control_->TakeReports(), IsEmpty());
  }
  CUresult Copy() { return cuda_->cuMemcpyHtoDAsync(memory_, host_.span().data(), 4096, stream_); }
  void ExpectReport(const char* text) {
    EXPECT_THAT(control_->TakeReports(), ElementsAre(HasSubstr(text)));
  }

  std::optional<FakeCudaControl> control_;
  const CudaDriver* cuda_ = nullptr;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  CUdeviceptr memory_ = 0;
  StagingMemory host_{kBytes};
};

TEST_F(FakeCudaTest, CopiesRunLaterAndReadTheSourceThen) {
  std::vector<std::byte> bytes(4096);
  control_->HoldCopies(true);
  FillPattern(host_.span(), 1);
  ASSERT_EQ(Copy(), CUDA_SUCCESS);
  FillPattern(host_.span(), 2);
  EXPECT_NE(cuda_->cuMemcpyDtoH(bytes.data(), memory_, 4096), CUDA_SUCCESS);
  ExpectReport("a copy to these bytes is in flight");
  control_->HoldCopies(false);
  ASSERT_EQ(cuda_->cuStreamSynchronize(stream_), CUDA_SUCCESS);
  ASSERT_EQ(cuda_->cuMemcpyDtoH(bytes.data(), memory_, 4096), CUDA_SUCCESS);
  EXPECT_EQ(bytes, Pattern(4096, 2));
}

TEST_F(FakeCudaTest, NewMemoryIsNotZero) {
  std::vector<std::byte> bytes(16);
  ASSERT_EQ(cuda_->cuMemcpyDtoH(bytes.data(), memory_ + kBytes - 16, 16), CUDA_SUCCESS);
  EXPECT_THAT(bytes, ::testing::Each(std::byte{0xCD}));
}

TEST_F(FakeCudaTest, ReportsCopyFromMemoryThatIsNotRegistered) {
  std::vector<std::byte> bytes(4096);
  EXPECT_NE(cuda_->cuMemcpyHtoDAsync(memory_, bytes.data(), 4096, stream_), CUDA_SUCCESS);
  ExpectReport("is not registered");
  EXPECT_NE(cuda_->cuMemcpyHtoDAsync(memory_, host_.span().data() + kBytes - 1, 2, stream_),
            CUDA_SUCCESS);
  ExpectReport("is not registered");
}

TEST_F(FakeCudaTest, ReportsRangesPastTheEnd) {
  std::byte byte{};
  EXPECT_NE(cuda_->cuMemcpyHtoDAsync(memory_ + kBytes - 1, host_.span().data(), 2, stream_),
            CUDA_SUCCESS);
  ExpectReport("past the end");
  EXPECT_NE(cuda_->cuMemcpyDtoH(&byte, memory_ + kBytes, 1), CUDA_SUCCESS);
  ExpectReport("past the end");
  EXPECT_NE(cuda_->cuMemcpyDtoH(&byte, memory_ + 2 * kBytes, 1), CUDA_SUCCESS);
  ExpectReport("no such memory");
}

TEST_F(FakeCudaTest, ReportsUseAfterFreeAndDoubleFree) {
  std::byte byte{};
  CUdeviceptr other = 0;
  ASSERT_EQ(cuda_->cuMemAlloc(&other, kBytes), CUDA_SUCCESS);
  ASSERT_EQ(cuda_->cuMemFree(other), CUDA_SUCCESS);
  EXPECT_NE(cuda_->cuMemcpyDtoH(&byte, other, 1), CUDA_SUCCESS);
  ExpectReport("was freed");
  EXPECT_NE(cuda_->cuMemFree(other), CUDA_SUCCESS);
  ExpectReport("was freed before");
  EXPECT_NE(cuda_->cuMemFree(memory_ + 1), CUDA_SUCCESS);
  ExpectReport("not the base");
}

TEST_F(FakeCudaTest, ReportsWhatIsTakenAwayUnderACopy) {
  control_->HoldCopies(true);
  ASSERT_EQ(Copy(), CUDA_SUCCESS);
  EXPECT_NE(cuda_->cuMemFree(memory_), CUDA_SUCCESS);
  ExpectReport("in flight");
  EXPECT_NE(cuda_->cuMemHostUnregister(host_.span().data()), CUDA_SUCCESS);
  ExpectReport("in flight");
}

TEST_F(FakeCudaTest, ReportsAStreamDestroyedWithWork) {
  CUstream stream = nullptr;
  ASSERT_EQ(cuda_->cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
  ASSERT_EQ(cuda_->cuMemcpyHtoDAsync(memory_, host_.span().data(), 4096, stream), CUDA_SUCCESS);
  // The copy may be done by now; a thousand are not.
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(cuda_->cuMemcpyHtoDAsync(memory_, host_.span().data(), 4096, stream), CUDA_SUCCESS);
  }
  EXPECT_EQ(cuda_->cuStreamDestroy(stream), CUDA_SUCCESS);
  ExpectReport("work is left");
  EXPECT_NE(cuda_->cuStreamDestroy(stream), CUDA_SUCCESS);
  ExpectReport("no such stream");
}

TEST_F(FakeCudaTest, ReportsMisuseOfEvents) {
  CUevent event = nullptr;
  ASSERT_EQ(cuda_->cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), CUDA_SUCCESS);
  EXPECT_EQ(cuda_->cuEventQuery(event), CUDA_SUCCESS);
  ExpectReport("never recorded");
  control_->HoldCopies(true);
  ASSERT_EQ(Copy(), CUDA_SUCCESS);
  ASSERT_EQ(cuda_->cuEventRecord(event, stream_), CUDA_SUCCESS);
  EXPECT_EQ(cuda_->cuEventQuery(event), CUDA_ERROR_NOT_READY);
  control_->HoldCopies(false);
  EXPECT_EQ(cuda_->cuEventSynchronize(event), CUDA_SUCCESS);
  EXPECT_EQ(cuda_->cuEventQuery(event), CUDA_SUCCESS);
  EXPECT_EQ(cuda_->cuEventDestroy(event), CUDA_SUCCESS);
  EXPECT_NE(cuda_->cuEventDestroy(event), CUDA_SUCCESS);
  ExpectReport("no such event");
}

TEST_F(FakeCudaTest, ReportsMovesThatOverlap) {
  EXPECT_NE(cuda_->cuMemcpyDtoDAsync(memory_, memory_ + 512, 513, stream_), CUDA_SUCCESS);
  ExpectReport("overlap");
}

TEST_F(FakeCudaTest, ReportsUnmappedRegistrations) {
  EXPECT_NE(cuda_->cuMemHostRegister(nullptr, 4096, 0), CUDA_SUCCESS);
  ExpectReport("not mapped");
  EXPECT_EQ(cuda_->cuMemHostRegister(host_.span().data() + 4096, 4096, 0),
            CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  ASSERT_EQ(cuda_->cuMemHostRegister(memory, 4096, 0), CUDA_SUCCESS);
  ::munmap(memory, 4096);
  EXPECT_NE(cuda_->cuMemHostUnregister(memory), CUDA_SUCCESS);
  ExpectReport("unmapped before");
}

TEST_F(FakeCudaTest, ReportsExportsThatGiveAwayTooMuch) {
  CUdeviceptr small = 0;
  CUipcMemHandle handle{};
  ASSERT_EQ(cuda_->cuMemAlloc(&small, 4096), CUDA_SUCCESS);
  EXPECT_EQ(cuda_->cuIpcGetMemHandle(&handle, small), CUDA_SUCCESS);
  ExpectReport("neighbours");
  EXPECT_NE(cuda_->cuIpcGetMemHandle(&handle, memory_ + 512), CUDA_SUCCESS);
  ExpectReport("not the base");
  EXPECT_EQ(cuda_->cuMemFree(small), CUDA_SUCCESS);
  EXPECT_NE(cuda_->cuIpcCloseMemHandle(memory_), CUDA_SUCCESS);
  ExpectReport("is not open");
}

TEST_F(FakeCudaTest, ReportsMisuseOfContexts) {
  CUcontext popped = nullptr;
  ASSERT_EQ(cuda_->cuCtxPopCurrent(&popped), CUDA_SUCCESS);
  CUdeviceptr address = 0;
  EXPECT_EQ(cuda_->cuMemAlloc(&address, kBytes), CUDA_ERROR_INVALID_CONTEXT);
  ExpectReport("no context is current");
  EXPECT_EQ(cuda_->cuCtxPopCurrent(&popped), CUDA_ERROR_INVALID_CONTEXT);
  ExpectReport("no context is pushed");
  EXPECT_EQ(cuda_->cuCtxPushCurrent(nullptr), CUDA_ERROR_INVALID_CONTEXT);
  ExpectReport("no such context");
  EXPECT_EQ(cuda_->cuDevicePrimaryCtxRelease(1), CUDA_ERROR_INVALID_CONTEXT);
  ExpectReport("not retained");
  ASSERT_EQ(cuda_->cuCtxPushCurrent(context_), CUDA_SUCCESS);
}

TEST_F(FakeCudaTest, ReportsCopiesToAnotherGpu) {
  CUcontext other = nullptr;
  CUcontext popped = nullptr;
  ASSERT_EQ(cuda_->cuDevicePrimaryCtxRetain(&other, 1), CUDA_SUCCESS);
  ASSERT_EQ(cuda_->cuCtxPushCurrent(other), CUDA_SUCCESS);
  EXPECT_NE(Copy(), CUDA_SUCCESS);
  ExpectReport("another context");
  std::byte byte{};
  EXPECT_NE(cuda_->cuMemcpyDtoH(&byte, memory_, 1), CUDA_SUCCESS);
  ExpectReport("another GPU");
  ASSERT_EQ(cuda_->cuCtxPopCurrent(&popped), CUDA_SUCCESS);
  ASSERT_EQ(cuda_->cuDevicePrimaryCtxRelease(1), CUDA_SUCCESS);
}

TEST_F(FakeCudaTest, ReportsUseInAForkedChild) {
  const pid_t child = ::fork();
  if (child == 0) {
    CUdeviceptr address = 0;
    const CUresult result = cuda_->cuMemAlloc(&address, kBytes);
    ::_exit(result == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(FakeCudaTest, FailsTheNthCall) {
  control_->SetFailures(
      "cuMemAlloc:2:CUDA_ERROR_OUT_OF_MEMORY,cuStreamSynchronize:1+:CUDA_ERROR_UNKNOWN");
  CUdeviceptr address = 0;
  EXPECT_EQ(cuda_->cuMemAlloc(&address, kBytes), CUDA_SUCCESS);
  EXPECT_EQ(cuda_->cuMemFree(address), CUDA_SUCCESS);
  EXPECT_EQ(cuda_->cuMemAlloc(&address, kBytes), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(cuda_->cuStreamSynchronize(stream_), CUDA_ERROR_UNKNOWN);
  EXPECT_EQ(cuda_->cuStreamSynchronize(stream_), CUDA_ERROR_UNKNOWN);
  control_->SetFailures("cuMemAlloc:x:CUDA_ERROR_OUT_OF_MEMORY");
  ExpectReport("cannot read");
}

TEST_F(FakeCudaTest, MemoryRunsOut) {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  ASSERT_EQ(cuda_->cuMemGetInfo(&free_bytes, &total_bytes), CUDA_SUCCESS);
  EXPECT_EQ(total_bytes - free_bytes, kBytes);
  CUdeviceptr address = 0;
  EXPECT_EQ(cuda_->cuMemAlloc(&address, free_bytes + 1), CUDA_ERROR_OUT_OF_MEMORY);
}

}  // namespace
}  // namespace weightd::testing
