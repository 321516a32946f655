#include "daemon/device/pinned_allocation.h"

#include <memory>
#include <utility>
#include <vector>

#include "common/align.h"
#include "common/errors.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class PinnedAllocationTest : public ::testing::Test {
 protected:
  ~PinnedAllocationTest() override {
    for (MemoryDevice* gpu : {&gpu0_, &gpu1_}) {
      EXPECT_EQ(gpu->registered_count(), 0);
      EXPECT_THAT(gpu->violations(), IsEmpty());
    }
  }
  static std::shared_ptr<Allocation> Sealed(MemoryDevice& device) {
    std::shared_ptr<Allocation> allocation = *device.Allocate(3 * kMiB);
    EXPECT_OK(allocation->Seal());
    return allocation;
  }

  MemoryDevice host_{{.id = "host", .kind = DeviceKind::kHost}};
  MemoryDevice gpu0_{{.id = "GPU-0"}};
  MemoryDevice gpu1_{{.id = "GPU-1"}};
  const std::vector<Device*> gpus_ = {&gpu0_, &gpu1_};
};

TEST_F(PinnedAllocationTest, IsPinnedForEveryGpuWhileItLives) {
  std::shared_ptr<Allocation> allocation = Sealed(host_);
  const uint64_t bytes = allocation->bytes();
  ASSERT_OK(PinForGpus(gpus_, allocation));
  EXPECT_EQ(gpu0_.registered_count(), 1);
  EXPECT_EQ(gpu1_.registered_count(), 1);
  EXPECT_THAT(allocation->pinned_memory(), SizeIs(bytes));
  EXPECT_EQ(allocation->bytes(), bytes);
  EXPECT_OK(allocation->CreateExport());
  EXPECT_EQ(host_.allocation_count(), 1);
  allocation.reset();
  EXPECT_EQ(gpu0_.registered_count(), 0);
  EXPECT_EQ(host_.allocation_count(), 0);
}

TEST_F(PinnedAllocationTest, OneGpuThatRefusesLeavesItAsItWas) {
  std::shared_ptr<Allocation> allocation = Sealed(host_);
  Allocation* const before = allocation.get();
  gpu1_.FailRegisterSealed(1, absl::ResourceExhaustedError("no more pages"));
  EXPECT_THAT(PinForGpus(gpus_, allocation),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("no more pages")));
  EXPECT_EQ(allocation.get(), before);
  EXPECT_THAT(allocation->pinned_memory(), IsEmpty());
  EXPECT_EQ(gpu0_.registered_count(), 0);
}

TEST_F(PinnedAllocationTest, OnlySealedHostMemoryIsPinned) {
  std::shared_ptr<Allocation> of_gpu = Sealed(gpu0_);
  EXPECT_THAT(PinForGpus(gpus_, of_gpu), ReasonIs(Reason::kDeviceFailed, HasSubstr("sealed")));
  std::shared_ptr<Allocation> open = *host_.Allocate(kMiB);
  EXPECT_THAT(PinForGpus(gpus_, open), ReasonIs(Reason::kDeviceFailed, _));
}

}  // namespace
}  // namespace weightd::testing
