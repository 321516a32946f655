#include "daemon/staging/staging_pool.h"

#include <sys/prctl.h>

#include <algorithm>
#include <set>

#include "common/align.h"
#include "common/errors.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(StagingPoolTest, CutsAlignedSlotsOutOfOneRegion) {
  ASSERT_OK_AND_ASSIGN(const auto pool, StagingPool::Create(3, 2 * kMiB, {}));
  EXPECT_EQ(pool->slot_count(), 3);
  EXPECT_EQ(pool->slot_bytes(), 2 * kMiB);
  EXPECT_EQ(pool->memory().size(), 6 * kMiB);
  const auto slots = pool->slots();
  ASSERT_THAT(slots, SizeIs(3));
  for (uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(slots[i].data(), pool->memory().data() + i * (2 * kMiB));
    EXPECT_EQ(slots[i].size(), 2 * kMiB);
    EXPECT_EQ(slots[i].data(), pool->slot(i).data());
    EXPECT_TRUE(IsAligned(reinterpret_cast<uintptr_t>(slots[i].data()), 2 * kMiB));
    std::fill(slots[i].begin(), slots[i].end(), std::byte{0x5A});
  }
}

TEST(StagingPoolTest, SaysWhatItsPagesAre) {
  ASSERT_OK_AND_ASSIGN(const auto pool, StagingPool::Create(1, 2 * kMiB, {}));
  EXPECT_THAT(PageKindName(pool->page_kind()), ::testing::AnyOf("hugetlb", "transparent", "small"));
}

TEST(StagingPoolTest, DoesNotTakeARequestForHugePagesForThePages) {
  ASSERT_EQ(::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
  const auto pool = StagingPool::Create(1, 2 * kMiB, {});
  ASSERT_EQ(::prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
  ASSERT_OK(pool);
  EXPECT_NE((*pool)->page_kind(), PageKind::kTransparent);
}

TEST(StagingPoolTest, SlotsAreTakenOnceAndSharedEqually) {
  ASSERT_OK_AND_ASSIGN(const auto pool, StagingPool::Create(4, 2 * kMiB, {}, /*numa_node=*/0));
  StagingPool::Holder* const copies = pool->Join({});
  EXPECT_EQ(pool->share(copies), 4u);
  for (uint32_t users = 2; users <= 9; ++users) {
    EXPECT_EQ(pool->Join({}), copies);
    EXPECT_EQ(pool->share(copies), std::max(1u, 4 / users));
  }
  StagingPool::Holder* const reads = pool->Join({1});
  EXPECT_EQ(pool->share(reads), 2u) << "each volume has its part, however many read the other";
  pool->Leave(reads);
  std::set<uint32_t> taken;
  while (const auto slot = pool->TakeSlot(copies)) EXPECT_TRUE(taken.insert(*slot).second);
  EXPECT_THAT(taken, SizeIs(4));
  pool->GiveSlot(2);
  EXPECT_EQ(pool->TakeSlot(copies), 2u);
  for (uint32_t users = 9; users > 0; --users) pool->Leave(copies);
}

TEST(StagingPoolTest, RefusesWhatNoPoolIs) {
  for (const auto& [count, bytes] : std::vector<std::pair<uint32_t, uint64_t>>{
           {0, 2 * kMiB}, {1, 0}, {1, kMiB}, {1, 2 * kMiB + 4096}}) {
    EXPECT_THAT(StagingPool::Create(count, bytes, {}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multiple of 2 MiB")));
  }
}

TEST(StagingPoolTest, NoMemoryIsAnError) {
  // More than an address space holds.
  EXPECT_THAT(StagingPool::Create(1024, uint64_t{1} << 40, {}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("staging buffers")));
}

// So that a volume that hangs leaves something to the others.
TEST(StagingPoolTest, OneVolumeNeverHasAllSlots) {
  for (const uint32_t slot_count : {2U, 6U, 12U}) {
    const auto pool = *StagingPool::Create(slot_count, 2 * kMiB, {});
    StagingPool::Holder* const a = pool->Join({1});
    StagingPool::Holder* const b = pool->Join({2});
    std::vector<uint32_t> taken;
    while (const auto slot = pool->TakeSlot(a)) taken.push_back(*slot);
    EXPECT_EQ(taken.size(), slot_count - std::max(1U, slot_count / 6));
    const auto left = pool->TakeSlot(b);
    ASSERT_TRUE(left.has_value());
    EXPECT_TRUE(pool->IsShared(*left));
    pool->GiveSlot(*left);
    pool->GiveSlot(taken[0]);
    EXPECT_EQ(pool->TakeSlot(a), taken[0]);
  }
}

// Of as many volumes as there may be, each takes what it gets; the next one still gets something.
TEST(StagingPoolTest, VolumesThatTakeAllLeaveEachOtherOneTwo) {
  constexpr uint64_t kVolumes = 32;
  const auto pool = *StagingPool::Create(4, 2 * kMiB, {});
  std::set<uint32_t> all;
  std::vector<StagingPool::Holder*> holders;
  for (uint64_t volume = 0; volume < kVolumes; ++volume) {
    holders.push_back(pool->Join({volume}));
    uint32_t count = 0;
    while (const auto slot = pool->TakeSlot(holders.back())) {
      EXPECT_TRUE(all.insert(*slot).second);
      EXPECT_EQ(pool->IsShared(*slot), *slot < 4);
      std::fill(pool->slot(*slot).begin(), pool->slot(*slot).end(), std::byte{1});
      ++count;
    }
    EXPECT_GE(count, 2U) << volume;
  }
  // They go with the last who reads the volume, and with what hangs.
  for (StagingPool::Holder* holder : holders) pool->Leave(holder);
  for (const uint32_t slot : all) pool->GiveSlot(slot);
  StagingPool::Holder* const last = pool->Join({kVolumes});
  uint32_t count = 0;
  while (pool->TakeSlot(last).has_value()) ++count;
  EXPECT_EQ(count, 3U) << "alone it has none of its own";
}

// One whose reads are stuck may have two that move, as long as they do.
TEST(StagingPoolTest, StuckSlotsAreNobodysShare) {
  const auto pool = *StagingPool::Create(4, 2 * kMiB, {});
  StagingPool::Holder* const a = pool->Join({1});
  StagingPool::Holder* const copies = pool->Join({});
  EXPECT_EQ(pool->share(a), 2U);
  for (int i = 0; i < 3; ++i) pool->MarkStuck(*pool->TakeSlot(a));
  pool->MarkStuck(*pool->TakeSlot(copies));
  EXPECT_EQ(pool->share(a), 2U);
  EXPECT_EQ(pool->stuck_slots(), 4U);
  for (int i = 0; i < 2; ++i) {
    EXPECT_OK(pool->CheckNotAllStuck(a));
    const auto slot = pool->TakeSlot(a);
    ASSERT_TRUE(slot.has_value());
    EXPECT_FALSE(pool->IsShared(*slot));
  }
  EXPECT_FALSE(pool->TakeSlot(a).has_value());
  EXPECT_OK(pool->CheckNotAllStuck(a)) << "those two may come back";
  pool->MarkAllStuck({1});
  EXPECT_EQ(pool->stuck_slots(), 6U);
  // Where each is stuck, nobody waits.
  EXPECT_THAT(pool->CheckNotAllStuck(a),
              AllOf(StatusIs(absl::StatusCode::kUnavailable, HasSubstr("4 of 4")),
                    ReasonIs(Reason::kVolumeStuck, HasSubstr("staging buffers"))));
  EXPECT_OK(pool->CheckNotAllStuck(copies));
  EXPECT_OK(pool->CheckNotAllStuck(pool->Join({2})));
  for (const uint32_t slot : {0, 1}) pool->GiveSlot(slot);
  EXPECT_OK(pool->CheckNotAllStuck(a));
}

}  // namespace
}  // namespace weightd::testing
