// Several transfers on one read queue: who gets how much.

#include "daemon/staging/read_loop.h"

#include <algorithm>
#include <atomic>

#include "common/align.h"
#include "daemon/staging/copy_run.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"
#include "tests/support/storage/faulty_read_queue.h"
#include "tests/support/storage/memory_read_queue.h"
#include "tests/support/storage/memory_volume.h"
#include "tests/unit/staging/test_manifest.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kBlockBytes = 16 * kKiB;
constexpr uint64_t kDataBytes = 64 * kBlockBytes;

// One model on a volume and the way to its allocation.
class Way {
 public:
  Way(MemoryVolume& volume, MemoryDevice& device, const std::string& name) : device_(device) {
    AddShard(manifest_, 4096, {{Dtype::kU8, kDataBytes}});
    volume.AddFile(name, std::string(manifest_.shards[0].file_bytes, name[0]));
    files_.push_back(*volume.Open(name));
    layout_ = *PlanLayout(manifest_, device.info().kind == DeviceKind::kHost
                                         ? LayoutTarget::kHostMemory
                                         : LayoutTarget::kDeviceMemory);
    allocation_ = *device.Allocate(layout_.allocation_bytes);
  }
  std::unique_ptr<Transfer> Start(StagingPool& pool, uint64_t bytes_per_second_max = 0) {
    StageInput input;
    input.manifest = &manifest_;
    input.files = files_;
    input.layout = &layout_;
    input.targets = {{.device = &device_, .destination = allocation_.get()}};
    input.cancelled = &cancelled_;
    input.bytes_per_second_max = bytes_per_second_max;
    input.on_progress = [this](uint64_t bytes) { bytes_done_ = bytes; };
    return std::make_unique<Transfer>(input, kBlockBytes, pool, *MakeCopyQueues(input.targets),
                                      ThreadExecutor::Get());
  }
  uint64_t bytes_done() const { return bytes_done_; }

 private:
  MemoryDevice& device_;
  Manifest manifest_;
  std::vector<std::shared_ptr<File>> files_;
  Layout layout_;
  std::unique_ptr<Allocation> allocation_;
  std::atomic<bool> cancelled_ = false;
  uint64_t bytes_done_ = 0;
};

class ReadLoopTest : public ::testing::Test {
 protected:
  void Make(DeviceKind kind, uint32_t depth, uint32_t slot_count,
            const MemoryReadQueueOptions& reads = {}) {
    loop_.reset();
    a_.reset();
    b_.reset();
    pool_.reset();
    device_ = std::make_unique<MemoryDevice>(MemoryDeviceOptions{.kind = kind});
    pool_ = *StagingPool::Create(slot_count, 2 * kMiB, {device_.get()});
    ReadQueueOptions queue;
    queue.depth = depth;
    queue.slots = pool_->slots();
    loop_ =
        std::make_unique<ReadLoop>(ReadLoopOptions{.depth_max = depth},
                                   *MemoryReadQueue::Create(queue, reads), ThreadExecutor::Get());
    a_ = std::make_unique<Way>(volume_, *device_, "a");
    b_ = std::make_unique<Way>(volume_, *device_, "b");
  }
  // Steps until one has ended, and says which.
  Transfer* RunToNextEnd() {
    LoopEnds ends;
    while (ends.ended.empty()) {
      EXPECT_OK(loop_->Step(absl::Milliseconds(10), ends));
      for (const Transfer* transfer : loop_->transfers()) {
        reads_max_ = std::max(reads_max_, transfer->reads_in_flight());
      }
    }
    return ends.ended.front();
  }

  MemoryVolume volume_;
  std::unique_ptr<MemoryDevice> device_;
  std::unique_ptr<StagingPool> pool_;
  std::unique_ptr<Way> a_;
  std::unique_ptr<Way> b_;
  std::unique_ptr<ReadLoop> loop_;
  uint32_t reads_max_ = 0;
};

TEST_F(ReadLoopTest, TwoTransfersGoSideBySide) {
  for (const DeviceKind kind : {DeviceKind::kHost, DeviceKind::kCuda}) {
    Make(kind, 8, 8);
    const auto a = a_->Start(*pool_);
    const auto b = b_->Start(*pool_);
    loop_->Add(a.get());
    loop_->Add(b.get());
    reads_max_ = 0;
    RunToNextEnd();
    EXPECT_LE(reads_max_, 4u);
    // Whoever was second is nearly there.
    EXPECT_GE(std::min(a_->bytes_done(), b_->bytes_done()), kDataBytes / 2);
    if (!loop_->idle()) RunToNextEnd();
    EXPECT_OK(a->Finish());
    EXPECT_OK(b->Finish());
  }
}

TEST_F(ReadLoopTest, OneAloneHasAllOfIt) {
  // Reads take long and end one by one: after a round nearly all are still in flight.
  Make(DeviceKind::kHost, 8, 1, {.latency_steps_max = 1000});
  const auto a = a_->Start(*pool_);
  loop_->Add(a.get());
  RunToNextEnd();
  EXPECT_EQ(reads_max_, 7u);
}

// A transfer that comes later does not wait for the one that is there, however long it is.
TEST_F(ReadLoopTest, LateComerGetsItsShare) {
  Make(DeviceKind::kCuda, 8, 4);
  const auto a = a_->Start(*pool_);
  loop_->Add(a.get());
  LoopEnds ends;
  for (int i = 0; i < 3; ++i) ASSERT_OK(loop_->Step(absl::Milliseconds(10), ends));
  const auto b = b_->Start(*pool_);
  EXPECT_EQ(pool_->share(pool_->Join({})), 2u);
  loop_->Add(b.get());
  for (int i = 0; i < 20; ++i) ASSERT_OK(loop_->Step(absl::Milliseconds(10), ends));
  EXPECT_GT(b_->bytes_done(), 0u);
}

TEST_F(ReadLoopTest, LimitedTransferDoesNotHoldUpTheOther) {
  Make(DeviceKind::kHost, 8, 1);
  const auto slow = a_->Start(*pool_, /*bytes_per_second_max=*/1000);
  const auto fast = b_->Start(*pool_);
  loop_->Add(slow.get());
  loop_->Add(fast.get());
  EXPECT_EQ(RunToNextEnd(), fast.get());
  EXPECT_LE(a_->bytes_done(), 2 * kBlockBytes);
  slow->Fail(absl::CancelledError("enough"));
  EXPECT_EQ(RunToNextEnd(), slow.get());
}

TEST_F(ReadLoopTest, FailureOfOneLeavesTheOtherAlone) {
  Make(DeviceKind::kCuda, 8, 4);
  volume_.FailReads("a", 5);
  const auto a = a_->Start(*pool_);
  const auto b = b_->Start(*pool_);
  loop_->Add(a.get());
  loop_->Add(b.get());
  EXPECT_EQ(RunToNextEnd(), a.get());
  EXPECT_THAT(a->Finish(),
              StatusIs(absl::StatusCode::kDataLoss, ::testing::HasSubstr("read a at")));
  EXPECT_EQ(RunToNextEnd(), b.get());
  EXPECT_OK(b->Finish());
}

TEST_F(ReadLoopTest, BrokenQueueGivesAllTransfersBack) {
  Make(DeviceKind::kHost, 8, 1);
  ReadQueueOptions queue;
  queue.depth = 8;
  loop_ =
      std::make_unique<ReadLoop>(ReadLoopOptions{.depth_max = 1},
                                 std::make_unique<FaultyReadQueue>(*MemoryReadQueue::Create(queue),
                                                                   QueueFaults{.break_after = 1}),
                                 ThreadExecutor::Get());
  const auto a = a_->Start(*pool_);
  loop_->Add(a.get());
  LoopEnds ends;
  absl::Status status;
  while (status.ok()) status = loop_->Step(absl::Milliseconds(10), ends);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, "read queue broken by the test"));
  EXPECT_THAT(loop_->Break(), ElementsAre(a.get()));
  EXPECT_EQ(a->Finish().status(), status);
}

// A read that hangs fails its own job; the other one goes on, on the same queue.
TEST_F(ReadLoopTest, OneWithAStuckReadIsAbandonedAndTheOtherGoesOn) {
  for (const DeviceKind kind : {DeviceKind::kHost, DeviceKind::kCuda}) {
    Make(kind, 8, 8);
    ReadQueueOptions queue;
    queue.depth = 8;
    queue.slots = pool_->slots();
    queue.stall_timeout = absl::Milliseconds(20);
    const auto comes_back = std::make_shared<std::atomic<bool>>(false);
    loop_ = std::make_unique<ReadLoop>(
        ReadLoopOptions{.depth_max = 8},
        *MemoryReadQueue::Create(queue,
                                 {.faults = {{1, {.stalls = true}}}, .comes_back = comes_back}),
        ThreadExecutor::Get());
    const auto a = a_->Start(*pool_);
    loop_->Add(a.get());
    LoopEnds ends;
    ASSERT_OK(loop_->Step(absl::ZeroDuration(), ends));
    const auto b = b_->Start(*pool_);
    loop_->Add(b.get());
    while (ends.abandoned.empty()) ASSERT_OK(loop_->Step(absl::Milliseconds(10), ends));
    EXPECT_THAT(ends.abandoned, ElementsAre(a.get()));
    EXPECT_THAT(a->status(), StatusIs(absl::StatusCode::kDeadlineExceeded, _));
    EXPECT_EQ(a->stuck().file, "a");
    EXPECT_EQ(a->stuck().reads, 1U);
    EXPECT_EQ(pool_->stuck_slots(), kind == DeviceKind::kCuda ? 1U : 0U);
    while (ends.ended.empty()) ASSERT_OK(loop_->Step(absl::Milliseconds(10), ends));
    EXPECT_THAT(ends.ended, ElementsAre(b.get()));
    EXPECT_OK(b->Finish());
    EXPECT_THAT(ends.released, IsEmpty());
    *comes_back = true;
    while (ends.released.empty()) ASSERT_OK(loop_->Step(absl::Milliseconds(10), ends));
    EXPECT_THAT(ends.released, ElementsAre(a.get()));
    EXPECT_EQ(pool_->stuck_slots(), 0U);
    EXPECT_THAT(a->Finish().status(), StatusIs(absl::StatusCode::kDeadlineExceeded, _));
  }
}

// Others hold what it may have and give nothing back, be it that nobody knows them to be stuck.
TEST_F(ReadLoopTest, OneThatGetsNoSlotEndsAtTheStallTimeout) {
  Make(DeviceKind::kCuda, 8, 1);
  ReadQueueOptions queue;
  queue.depth = 8;
  queue.slots = pool_->slots();
  loop_ = std::make_unique<ReadLoop>(
      ReadLoopOptions{.depth_max = 8, .stall_timeout = absl::Milliseconds(20)},
      *MemoryReadQueue::Create(queue, {}), ThreadExecutor::Get());
  StagingPool::Holder* const same = pool_->Join({(*volume_.Open("a"))->identity().device});
  const auto slot = pool_->TakeSlot(same);
  ASSERT_TRUE(slot.has_value());
  const auto a = a_->Start(*pool_);
  loop_->Add(a.get());
  EXPECT_EQ(RunToNextEnd(), a.get());
  EXPECT_THAT(a->Finish().status(),
              AllOf(StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no staging buffer")),
                    ReasonIs(Reason::kVolumeStuck, _)));
  pool_->GiveSlot(*slot);
  const auto b = b_->Start(*pool_);
  loop_->Add(b.get());
  EXPECT_EQ(RunToNextEnd(), b.get());
  EXPECT_OK(b->Finish());
}

// Reads of other volumes that hang have all that may be in flight, and one of its own hangs, too.
TEST_F(ReadLoopTest, OneThatMayBeginNoReadEndsAtTheStallTimeout) {
  ReadsInFlight reads(5);
  Make(DeviceKind::kHost, 8, 1);
  ReadQueueOptions queue;
  queue.depth = 8;
  queue.stall_timeout = absl::Milliseconds(20);
  const auto comes_back = std::make_shared<std::atomic<bool>>(false);
  loop_ = std::make_unique<ReadLoop>(
      ReadLoopOptions{
          .depth_max = 8, .stall_timeout = absl::Milliseconds(20), .reads_in_flight = &reads},
      *MemoryReadQueue::Create(queue,
                               {.faults = {{1, {.stalls = true}}}, .comes_back = comes_back}),
      ThreadExecutor::Get());
  const auto a = a_->Start(*pool_);
  loop_->Add(a.get());
  LoopEnds ends;
  while (ends.abandoned.empty()) ASSERT_OK(loop_->Step(absl::Milliseconds(10), ends));
  EXPECT_EQ(reads.count(), 1U);
  uint64_t others = 0;
  while (reads.TryBegin(0, others)) ++others;
  EXPECT_EQ(reads.count(), 5U);
  const auto b = b_->Start(*pool_);
  loop_->Add(b.get());
  EXPECT_EQ(RunToNextEnd(), b.get());
  EXPECT_THAT(b->Finish().status(),
              AllOf(StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no read could be begun")),
                    ReasonIs(Reason::kVolumeStuck, _)));
  reads.End(others);
  *comes_back = true;
  while (ends.released.empty()) ASSERT_OK(loop_->Step(absl::Milliseconds(10), ends));
  EXPECT_EQ(reads.count(), 0U);
  const auto again = b_->Start(*pool_);
  loop_->Add(again.get());
  EXPECT_EQ(RunToNextEnd(), again.get());
  EXPECT_OK(again->Finish());
  loop_.reset();  // before what it counts with
}

TEST_F(ReadLoopTest, ALoopGivesBackWhatItCounted) {
  Make(DeviceKind::kHost, 8, 1);
  ReadsInFlight reads(64);
  ReadQueueOptions queue;
  queue.depth = 8;
  loop_ = std::make_unique<ReadLoop>(ReadLoopOptions{.depth_max = 8, .reads_in_flight = &reads},
                                     *MemoryReadQueue::Create(queue, {.latency_steps_max = 1000}),
                                     ThreadExecutor::Get());
  const auto a = a_->Start(*pool_);
  loop_->Add(a.get());
  LoopEnds ends;
  ASSERT_OK(loop_->Step(absl::ZeroDuration(), ends));
  EXPECT_EQ(reads.count(), a->reads_in_flight());
  EXPECT_GT(reads.count(), 0U);
  loop_.reset();
  EXPECT_EQ(reads.count(), 0U);
}

}  // namespace
}  // namespace weightd::testing
