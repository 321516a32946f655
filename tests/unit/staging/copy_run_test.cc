// From one allocation to others: from and to each kind of device, to several at once.

#include "daemon/staging/copy_run.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/align.h"
#include "common/errors.h"
#include "daemon/device/pinned_allocation.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Completion = MemoryDeviceOptions::Completion;

constexpr uint64_t kBlock = 64 << 10;
constexpr uint64_t kBytes = 11 * kBlock + 777;

class CopyRunTest : public ::testing::Test {
 protected:
  CopyRunTest() : pool_(*StagingPool::Create(2, 2 * kMiB, {&host_, &gpu0_, &gpu1_})) {}
  ~CopyRunTest() override {
    source_.reset();
    targets_.clear();
    pool_.reset();
    for (MemoryDevice* device : {&host_, &gpu0_, &gpu1_}) {
      EXPECT_EQ(device->copies_in_flight(), 0);
      EXPECT_EQ(device->registered_count(), 0);
      EXPECT_EQ(device->allocation_count(), 0);
      EXPECT_THAT(device->violations(), IsEmpty());
    }
  }

  void From(MemoryDevice& device) {
    from_device_ = &device;
    std::unique_ptr<Allocation> allocation = *device.Allocate(kBytes);
    std::vector<std::byte> content(kBytes);
    for (uint64_t i = 0; i < kBytes; ++i) content[i] = static_cast<std::byte>(i * 31 + i / 251);
    const auto queue = *device.CreateCopyQueue();
    EXPECT_OK(device.RegisterStaging(absl::MakeSpan(content)));
    EXPECT_OK(queue->Submit({allocation.get(), 0, content, 0}));
    EXPECT_OK(queue->Finish());
    device.UnregisterStaging(absl::MakeSpan(content));
    EXPECT_OK(allocation->Seal());
    source_ = std::move(allocation);
    content_ = std::move(content);
  }
  void PinSource() {
    const std::vector<Device*> gpus = {&gpu0_, &gpu1_};
    ASSERT_OK(PinForGpus(gpus, source_));
  }
  absl::StatusOr<CopyOutcome> Run(const std::vector<MemoryDevice*>& devices) {
    CopyInput input;
    input.from = source_.get();
    input.from_device = from_device_;
    for (MemoryDevice* device : devices) {
      targets_.push_back(*device->Allocate(kBytes));
      input.targets.push_back({.device = device, .destination = targets_.back().get()});
    }
    input.bytes = kBytes;
    input.cancelled = &cancelled_;
    input.on_progress = [this](uint64_t bytes) {
      progress_.push_back(bytes);
      if (progress_.size() == cancel_after_) cancelled_ = true;
    };
    return CopyRun(input, *pool_, {.block_bytes = kBlock, .stall_timeout = stall_timeout_},
                   ThreadExecutor::Get())
        .Run();
  }
  bool Equal() const {
    for (const auto& target : targets_) {
      std::vector<std::byte> bytes(kBytes);
      EXPECT_OK(target->CopyOut(0, absl::MakeSpan(bytes)));
      if (bytes != content_) return false;
    }
    return true;
  }

  MemoryDevice host_{{.id = "host", .kind = DeviceKind::kHost}};
  MemoryDevice gpu0_{{.id = "GPU-0"}};
  MemoryDevice gpu1_{{.id = "GPU-1"}};
  std::unique_ptr<StagingPool> pool_;
  MemoryDevice* from_device_ = nullptr;
  std::shared_ptr<Allocation> source_;
  std::vector<std::byte> content_;
  std::vector<std::unique_ptr<Allocation>> targets_;
  std::atomic<bool> cancelled_ = false;
  size_t cancel_after_ = 0;
  std::vector<uint64_t> progress_;
  absl::Duration stall_timeout_ = absl::Seconds(60);
};

TEST_F(CopyRunTest, EachWayArrivesWhole) {
  const std::vector<std::pair<MemoryDevice*, std::vector<MemoryDevice*>>> ways = {
      {&host_, {&gpu0_}}, {&host_, {&gpu0_, &gpu1_}}, {&gpu0_, {&host_}},
      {&gpu0_, {&gpu1_}}, {&gpu0_, {&gpu1_, &host_}}, {&host_, {&host_}},
  };
  for (const auto& [from, to] : ways) {
    SCOPED_TRACE(from->info().id + " to " + std::to_string(to.size()));
    From(*from);
    ASSERT_OK_AND_ASSIGN(const CopyOutcome outcome, Run(to));
    EXPECT_EQ(outcome.bytes, kBytes);
    EXPECT_TRUE(Equal());
    EXPECT_EQ(progress_.back(), kBytes);
    targets_.clear();
  }
}

// No staging buffer is needed: somebody else has them all.
TEST_F(CopyRunTest, GpusTakePinnedHostMemoryWithoutStagingBuffers) {
  From(host_);
  PinSource();
  StagingPool::Holder* const copies = pool_->Join({});
  const std::vector<uint32_t> taken = {*pool_->TakeSlot(copies), *pool_->TakeSlot(copies)};
  ASSERT_OK(Run({&gpu0_, &gpu1_}));
  EXPECT_TRUE(Equal());
  for (const uint32_t slot : taken) pool_->GiveSlot(slot);
}

TEST_F(CopyRunTest, WithoutPinningStagingBuffersAreWaitedForUntilTheStallTimeout) {
  From(host_);
  StagingPool::Holder* const copies = pool_->Join({});
  const std::vector<uint32_t> taken = {*pool_->TakeSlot(copies), *pool_->TakeSlot(copies)};
  stall_timeout_ = absl::Milliseconds(5);
  EXPECT_THAT(Run({&gpu0_}), ReasonIs(Reason::kDeviceFailed, HasSubstr("a staging buffer")));
  for (const uint32_t slot : taken) pool_->GiveSlot(slot);
}

TEST_F(CopyRunTest, VolumesThatTakeAllStagingBuffersLeaveSomeOfItsOwn) {
  From(host_);
  std::vector<uint32_t> taken;
  for (const uint64_t volume : {1, 2}) {
    StagingPool::Holder* const reads = pool_->Join({volume});
    while (const auto slot = pool_->TakeSlot(reads)) taken.push_back(*slot);
  }
  EXPECT_EQ(gpu0_.registered_count(), 2) << "all of them, and one that is the second volume's";
  ASSERT_OK(Run({&gpu0_}));
  EXPECT_TRUE(Equal());
  for (const uint32_t slot : taken) pool_->GiveSlot(slot);
}

TEST_F(CopyRunTest, HostAmongTheTargetsIsFilledFromPinnedMemoryToo) {
  From(host_);
  PinSource();
  ASSERT_OK(Run({&gpu0_, &host_}));
  EXPECT_TRUE(Equal());
}

class CopyRunEndsTest : public CopyRunTest, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    From(host_);
    if (GetParam()) PinSource();
  }
};

TEST_P(CopyRunEndsTest, CancelEndsItSoonWithNothingInFlight) {
  cancel_after_ = 2;
  EXPECT_THAT(Run({&gpu0_, &gpu1_}), ReasonIs(Reason::kCancelled, _));
  EXPECT_LT(progress_.back(), kBytes);
}

TEST_P(CopyRunEndsTest, CopyThatIsRefusedEndsIt) {
  gpu1_.FailSubmit(3, absl::InternalError("no submit"));
  EXPECT_THAT(Run({&gpu0_, &gpu1_}), StatusIs(absl::StatusCode::kInternal, "no submit"));
}

TEST_P(CopyRunEndsTest, CopyThatFailsEndsIt) {
  gpu0_.FailCopy(4, absl::InternalError("no copy"));
  EXPECT_THAT(Run({&gpu0_, &gpu1_}), StatusIs(absl::StatusCode::kInternal, "no copy"));
}

INSTANTIATE_TEST_SUITE_P(From, CopyRunEndsTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "Pinned" : "NotPinned"; });

// The GPU takes nothing any more.
TEST_P(CopyRunEndsTest, GpuThatHangsEndsItAtTheStallTimeout) {
  MemoryDevice stuck({.id = "GPU-stuck", .completion = Completion::kOnStep});
  ASSERT_OK(stuck.RegisterStaging(pool_->memory()));
  if (GetParam()) {
    source_.reset();
    From(host_);
    const std::vector<Device*> gpus = {&stuck};
    ASSERT_OK(PinForGpus(gpus, source_));
  }
  stall_timeout_ = absl::Milliseconds(5);
  EXPECT_THAT(Run({&stuck}),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("no progress")));
  targets_.clear();
  source_.reset();
  stuck.UnregisterStaging(pool_->memory());
}

}  // namespace
}  // namespace weightd::testing
