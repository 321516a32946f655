// What every Device does. Runs on host memory, on the double for simulations, and on CUDA with the
// fake driver (or a real one, without the harsh checks).

#include <algorithm>
#include <limits>
#include <set>

#include "common/align.h"
#include "common/errors.h"
#include "tests/contract/device/device_harness.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kBlockBytes = 64 * kKiB;
constexpr uint64_t kSlots = 8;
constexpr absl::Duration kLong = absl::Seconds(60);

class DeviceContractTest : public ::testing::TestWithParam<HarnessKind> {
 protected:
  void SetUp() override {
    std::string reason;
    harness_ = GetParam().create(reason);
    if (harness_ == nullptr) GTEST_SKIP() << reason;
    ASSERT_OK(device().RegisterStaging(staging_.span()));
  }
  void TearDown() override {
    if (harness_ == nullptr) return;
    device().UnregisterStaging(staging_.span());
    EXPECT_THAT(harness_->Violations(), IsEmpty());
    EXPECT_THAT(
        device().warnings(),
        ::testing::Not(::testing::Contains(::testing::Field(&Warning::text, HasSubstr("lost")))));
  }

  Device& device() { return harness_->device(); }
  std::unique_ptr<Allocation> Allocate(uint64_t bytes) {
    auto allocation = device().Allocate(bytes);
    EXPECT_OK(allocation);
    return allocation.ok() ? *std::move(allocation) : nullptr;
  }
  std::unique_ptr<CopyQueue> Queue() { return *device().CreateCopyQueue(); }
  absl::Span<std::byte> Slot(uint64_t index) { return staging_.slot(index, kBlockBytes); }
  static std::vector<std::byte> Read(const Allocation& from, uint64_t offset, uint64_t bytes) {
    std::vector<std::byte> result(bytes);
    EXPECT_OK(from.CopyOut(offset, absl::MakeSpan(result)));
    return result;
  }

  StagingMemory staging_{kSlots * kBlockBytes};  // outlives the device
  std::unique_ptr<DeviceHarness> harness_;
};

TEST_P(DeviceContractTest, SaysWhatItIs) {
  const DeviceInfo& info = device().info();
  EXPECT_FALSE(info.id.empty());
  EXPECT_FALSE(info.name.empty());
  EXPECT_GT(info.total_bytes, 0);
  EXPECT_GT(info.free_bytes, 0);
  EXPECT_LE(info.free_bytes, info.total_bytes);
}

TEST_P(DeviceContractTest, RoundsAllocationsUp) {
  const uint64_t granularity = device().allocation_granularity();
  EXPECT_TRUE(IsPowerOfTwo(granularity));
  EXPECT_EQ(Allocate(1)->bytes(), granularity);
  EXPECT_EQ(Allocate(granularity)->bytes(), granularity);
  EXPECT_EQ(Allocate(granularity + 1)->bytes(), 2 * granularity);
}

TEST_P(DeviceContractTest, RefusesSizesThatItCannotHave) {
  EXPECT_THAT(device().Allocate(0), StatusIs(absl::StatusCode::kInvalidArgument, _));
  for (const uint64_t bytes :
       {device().info().total_bytes + 1, std::numeric_limits<uint64_t>::max()}) {
    const auto refused = device().Allocate(bytes);
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("allocate")));
    EXPECT_THAT(refused, ReasonIs(Reason::kDeviceFailed, _));
  }
}

TEST_P(DeviceContractTest, HostMemoryIsAlignedAndGoneAfterSeal) {
  const auto allocation = Allocate(3 * kMiB);
  const absl::Span<std::byte> memory = allocation->host_memory();
  if (device().info().kind == DeviceKind::kCuda) {
    EXPECT_THAT(memory, IsEmpty());
    return;
  }
  ASSERT_THAT(memory, SizeIs(allocation->bytes()));
  EXPECT_TRUE(IsAligned(reinterpret_cast<uintptr_t>(memory.data()), 2 * kMiB));
  FillPattern(memory, 5);
  ASSERT_OK(allocation->Seal());
  EXPECT_THAT(allocation->host_memory(), IsEmpty());
  EXPECT_EQ(Read(*allocation, 0, allocation->bytes()), Pattern(allocation->bytes(), 5));
}

TEST_P(DeviceContractTest, CopiesBlocksAndReadsThemBack) {
  const auto allocation = Allocate(kSlots * kBlockBytes);
  const auto queue = Queue();
  for (uint64_t i = 0; i < kSlots; ++i) {
    FillPattern(Slot(i), i);
    ASSERT_OK(queue->Submit({allocation.get(), i * kBlockBytes, Slot(i), i}));
  }
  ASSERT_OK(queue->Finish());
  EXPECT_EQ(queue->in_flight(), 0);
  for (uint64_t i = 0; i < kSlots; ++i) {
    EXPECT_EQ(Read(*allocation, i * kBlockBytes, kBlockBytes), Pattern(kBlockBytes, i)) << i;
  }
}

// Far more blocks than buffers: a buffer is filled again as soon as its copy is reported, and only
// then. A copy that is reported too early shows as another block's bytes.
TEST_P(DeviceContractTest, BuffersCanBeReusedWhenTheirCopyIsReported) {
  constexpr uint64_t kBlocks = 20 * kSlots;
  const auto allocation = Allocate(kBlocks * kBlockBytes);
  const auto queue = Queue();
  uint64_t next = 0;
  const auto submit = [&](uint64_t slot) {
    FillPattern(Slot(slot), next);
    ASSERT_OK(queue->Submit({allocation.get(), next * kBlockBytes, Slot(slot), slot}));
    ++next;
  };
  for (uint64_t slot = 0; slot < kSlots; ++slot) submit(slot);
  uint64_t reported = 0;
  while (queue->in_flight() > 0) {
    ASSERT_OK(queue->Poll(kLong, [&](uint64_t slot) {
      ++reported;
      if (next < kBlocks) submit(slot);
    }));
  }
  EXPECT_EQ(reported, kBlocks);
  ASSERT_OK(queue->Finish());
  for (uint64_t i = 0; i < kBlocks; ++i) {
    ASSERT_EQ(Read(*allocation, i * kBlockBytes, kBlockBytes), Pattern(kBlockBytes, i)) << i;
  }
}

TEST_P(DeviceContractTest, TakesMoreCopiesThanMayBeInFlight) {
  constexpr uint64_t kCopies = kCopiesInFlightMax + 50;
  const auto allocation = Allocate(kCopies);
  const auto queue = Queue();
  FillPattern(Slot(0), 9);
  for (uint64_t i = 0; i < kCopies; ++i) {
    ASSERT_OK(queue->Submit({allocation.get(), i, Slot(0).subspan(i, 1), i}));
  }
  EXPECT_EQ(queue->in_flight(), kCopies);
  std::set<uint64_t> tags;
  while (queue->in_flight() > 0) {
    ASSERT_OK(queue->Poll(kLong, [&](uint64_t tag) { EXPECT_TRUE(tags.insert(tag).second); }));
  }
  EXPECT_THAT(tags, SizeIs(kCopies));
  EXPECT_EQ(Read(*allocation, 0, kCopies), Pattern(kCopies, 9));
}

TEST_P(DeviceContractTest, PollWithNothingInFlightReturnsAtOnce) {
  const auto queue = Queue();
  const absl::Time start = absl::Now();
  EXPECT_OK(queue->Poll(kLong, [](uint64_t) { ADD_FAILURE() << "nothing was submitted"; }));
  EXPECT_LT(absl::Now() - start, kLong / 2);
}

TEST_P(DeviceContractTest, FinishedCopiesAreNotReportedAgain) {
  const auto allocation = Allocate(kBlockBytes);
  const auto queue = Queue();
  ASSERT_OK(queue->Submit({allocation.get(), 0, Slot(0), 1}));
  ASSERT_OK(queue->Finish());
  EXPECT_OK(queue->Poll(absl::ZeroDuration(), [](uint64_t) { ADD_FAILURE() << "again"; }));
}

TEST_P(DeviceContractTest, CopiesOfNoBytesAreReportedToo) {
  const auto allocation = Allocate(kBlockBytes);
  const auto queue = Queue();
  ASSERT_OK(queue->Submit({allocation.get(), allocation->bytes(), Slot(0).subspan(0, 0), 77}));
  std::vector<uint64_t> tags;
  ASSERT_OK(queue->Poll(kLong, [&](uint64_t tag) { tags.push_back(tag); }));
  EXPECT_THAT(tags, ::testing::ElementsAre(77));
}

TEST_P(DeviceContractTest, MovesAfterTheCopiesAndBeforeLaterOnes) {
  const auto allocation = Allocate(4 * kBlockBytes);
  const auto queue = Queue();
  FillPattern(Slot(0), 1);
  FillPattern(Slot(1), 2);
  ASSERT_OK(queue->Submit({allocation.get(), 0, Slot(0), 0}));
  ASSERT_OK(queue->Move(*allocation, 0, kBlockBytes + 512, kBlockBytes));
  ASSERT_OK(queue->Submit({allocation.get(), 0, Slot(1), 1}));
  ASSERT_OK(queue->Finish());
  EXPECT_EQ(Read(*allocation, kBlockBytes + 512, kBlockBytes), Pattern(kBlockBytes, 1));
  EXPECT_EQ(Read(*allocation, 0, kBlockBytes), Pattern(kBlockBytes, 2));
}

TEST_P(DeviceContractTest, RefusesRangesOutsideTheAllocation) {
  const auto allocation = Allocate(1);
  const uint64_t bytes = allocation->bytes();
  const auto queue = Queue();
  const uint64_t max = std::numeric_limits<uint64_t>::max();
  for (const uint64_t offset : {bytes - kBlockBytes + 1, bytes, bytes + 1, max}) {
    EXPECT_THAT(queue->Submit({allocation.get(), offset, Slot(0), 0}),
                StatusIs(absl::StatusCode::kOutOfRange, _));
    EXPECT_THAT(allocation->CopyOut(offset, Slot(0)), StatusIs(absl::StatusCode::kOutOfRange, _));
    EXPECT_THAT(queue->Move(*allocation, offset, 0, kBlockBytes),
                StatusIs(absl::StatusCode::kOutOfRange, _));
    EXPECT_THAT(queue->Move(*allocation, 0, offset, kBlockBytes),
                StatusIs(absl::StatusCode::kOutOfRange, _));
  }
  EXPECT_THAT(queue->Move(*allocation, 0, kBlockBytes - 1, kBlockBytes),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("overlap")));
  // None of that has spoilt the queue.
  EXPECT_OK(queue->Submit({allocation.get(), bytes - kBlockBytes, Slot(0), 0}));
  EXPECT_OK(queue->Finish());
}

TEST_P(DeviceContractTest, RefusesAnotherDevicesAllocation) {
  MemoryDevice other;
  const auto foreign = *other.Allocate(kBlockBytes);
  const auto queue = Queue();
  EXPECT_THAT(queue->Submit({foreign.get(), 0, Slot(0), 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(queue->Move(*foreign, 0, 1, 1), StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST_P(DeviceContractTest, SealedAllocationsTakeNoCopies) {
  const auto allocation = Allocate(kBlockBytes);
  const auto queue = Queue();
  FillPattern(Slot(0), 3);
  ASSERT_OK(queue->Submit({allocation.get(), 0, Slot(0), 0}));
  ASSERT_OK(queue->Finish());
  ASSERT_OK(allocation->Seal());
  EXPECT_THAT(allocation->Seal(), StatusIs(absl::StatusCode::kFailedPrecondition, _));
  EXPECT_THAT(queue->Submit({allocation.get(), 0, Slot(1), 0}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("sealed")));
  EXPECT_THAT(queue->Move(*allocation, 0, kBlockBytes, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("sealed")));
  EXPECT_EQ(Read(*allocation, 0, kBlockBytes), Pattern(kBlockBytes, 3));
}

TEST_P(DeviceContractTest, SealedHostMemoryCanBeReadInPlace) {
  const auto allocation = Allocate(kBlockBytes);
  EXPECT_THAT(allocation->sealed_memory(), IsEmpty());
  FillPattern(Slot(0), 3);
  const auto queue = Queue();
  ASSERT_OK(queue->Submit({allocation.get(), 0, Slot(0), 0}));
  ASSERT_OK(queue->Finish());
  ASSERT_OK(allocation->Seal());
  EXPECT_THAT(allocation->pinned_memory(), IsEmpty());
  const absl::Span<const std::byte> memory = allocation->sealed_memory();
  if (device().info().kind == DeviceKind::kCuda) {
    EXPECT_THAT(memory, IsEmpty());
    return;
  }
  ASSERT_THAT(memory, SizeIs(allocation->bytes()));
  EXPECT_EQ(std::vector<std::byte>(memory.begin(), memory.begin() + kBlockBytes),
            Pattern(kBlockBytes, 3));
}

// Memory that nobody can write, of a host beside the device.
TEST_P(DeviceContractTest, CopiesFromSealedMemoryThatIsRegistered) {
  const auto host = CreateHostDevice({});
  ASSERT_OK_AND_ASSIGN(const auto source, host->Allocate(2 * kBlockBytes));
  FillPattern(source->host_memory(), 8);
  ASSERT_OK(source->Seal());
  ASSERT_OK(device().RegisterSealed(source->sealed_memory()));
  const auto allocation = Allocate(2 * kBlockBytes);
  auto queue = Queue();
  ASSERT_OK(queue->Submit(
      {allocation.get(), 0, source->sealed_memory().subspan(kBlockBytes, kBlockBytes), 0}));
  ASSERT_OK(queue->Finish());
  EXPECT_EQ(Read(*allocation, 0, kBlockBytes), Read(*source, kBlockBytes, kBlockBytes));
  queue.reset();
  device().UnregisterSealed(source->sealed_memory());
}

TEST_P(DeviceContractTest, ExportsOnlyWhatIsSealed) {
  const auto allocation = Allocate(kBlockBytes);
  EXPECT_THAT(allocation->CreateExport(), StatusIs(absl::StatusCode::kFailedPrecondition, _));
  ASSERT_OK(allocation->Seal());
  ASSERT_OK_AND_ASSIGN(const Export exported, allocation->CreateExport());
  if (device().info().kind == DeviceKind::kCuda) {
    EXPECT_THAT(exported.cuda_ipc_handle, SizeIs(64));
    EXPECT_FALSE(exported.fd.valid());
  } else {
    EXPECT_THAT(exported.cuda_ipc_handle, IsEmpty());
    EXPECT_TRUE(exported.fd.valid());
  }
}

TEST_P(DeviceContractTest, FreedMemoryIsGivenBack) {
  const uint64_t before = harness_->Used();
  auto allocation = Allocate(4 * kMiB);
  EXPECT_GT(harness_->Used(), before);
  allocation.reset();
  EXPECT_EQ(harness_->Used(), before);
}

// Of what is of no more use, while something may still write to a part of it.
TEST_P(DeviceContractTest, GivesBackAllButWhatIsKept) {
  const uint64_t before = harness_->Used();
  const uint64_t bytes_before = harness_->UsedBytes();
  auto allocation = Allocate(9 * kMiB);
  std::vector<absl::Span<std::byte>> kept;
  const absl::Span<std::byte> memory = allocation->host_memory();
  if (!memory.empty()) {
    FillPattern(memory, 5);
    kept = {memory.subspan(7 * kMiB, 2 * kMiB), memory.subspan(kMiB + 10, kBlockBytes)};
  }
  const uint64_t left = allocation->GiveBackAllBut(kept);
  EXPECT_LE(left, allocation->bytes());
  EXPECT_EQ(harness_->UsedBytes(), bytes_before + left);
  for (const absl::Span<std::byte> part : kept) {
    const auto offset = static_cast<uint64_t>(part.data() - memory.data());
    const std::vector<std::byte> whole = Pattern(memory.size(), 5);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + static_cast<int64_t>(offset)));
    std::fill(part.begin(), part.end(), std::byte{1});
  }
  EXPECT_EQ(harness_->UsedBytes(), bytes_before + left);
  allocation.reset();
  EXPECT_EQ(harness_->Used(), before);
}

// Whole pages, of whatever size they are.
TEST_P(DeviceContractTest, KeepsThePagesOfWhatIsKept) {
  if (dynamic_cast<MemoryDevice*>(&device()) != nullptr) return;  // gives nothing back
  if (device().info().kind == DeviceKind::kCuda) {
    EXPECT_EQ(Allocate(4 * kMiB)->GiveBackAllBut({}), 0);
    return;
  }
  const auto allocation = Allocate(16 * kMiB);
  const absl::Span<std::byte> memory = allocation->host_memory();
  EXPECT_EQ(allocation->GiveBackAllBut({{memory.subspan(3 * kMiB, 2 * kMiB), memory.subspan(4, 1),
                                         memory.subspan(15 * kMiB, kMiB)}}),
            8 * kMiB);
  EXPECT_EQ(allocation->GiveBackAllBut({}), 0);
}

TEST_P(DeviceContractTest, DestroyedQueueHasFinishedItsCopies) {
  const auto allocation = Allocate(kSlots * kBlockBytes);
  auto queue = Queue();
  for (uint64_t i = 0; i < kSlots; ++i) {
    FillPattern(Slot(i), i + 100);
    ASSERT_OK(queue->Submit({allocation.get(), i * kBlockBytes, Slot(i), i}));
  }
  queue.reset();
  for (uint64_t i = 0; i < kSlots; ++i) FillPattern(Slot(i), 0);  // the buffers are ours again
  for (uint64_t i = 0; i < kSlots; ++i) {
    EXPECT_EQ(Read(*allocation, i * kBlockBytes, kBlockBytes), Pattern(kBlockBytes, i + 100)) << i;
  }
}

TEST_P(DeviceContractTest, TwoQueuesDoNotReportEachOthersCopies) {
  const auto allocation = Allocate(2 * kBlockBytes);
  const auto first = Queue();
  const auto second = Queue();
  ASSERT_OK(first->Submit({allocation.get(), 0, Slot(0), 1}));
  ASSERT_OK(second->Submit({allocation.get(), kBlockBytes, Slot(1), 2}));
  std::vector<uint64_t> tags;
  while (second->in_flight() > 0) {
    ASSERT_OK(second->Poll(kLong, [&](uint64_t tag) { tags.push_back(tag); }));
  }
  EXPECT_THAT(tags, ::testing::ElementsAre(2));
  EXPECT_EQ(first->in_flight(), 1);
  EXPECT_OK(first->Finish());
}

INSTANTIATE_TEST_SUITE_P(All, DeviceContractTest, ::testing::ValuesIn(AllHarnessKinds()),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace weightd::testing
