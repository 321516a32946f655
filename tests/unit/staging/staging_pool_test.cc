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
  ASSERT_OK_AND_ASSIGN(const auto pool, StagingPool::Create(3, 2 * kMiB));
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
  ASSERT_OK_AND_ASSIGN(const auto pool, StagingPool::Create(1, 2 * kMiB));
  EXPECT_THAT(PageKindName(pool->page_kind()), ::testing::AnyOf("hugetlb", "transparent", "small"));
}

TEST(StagingPoolTest, DoesNotTakeARequestForHugePagesForThePages) {
  ASSERT_EQ(::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
  const auto pool = StagingPool::Create(1, 2 * kMiB);
  ASSERT_EQ(::prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
  ASSERT_OK(pool);
  EXPECT_NE((*pool)->page_kind(), PageKind::kTransparent);
}

TEST(StagingPoolTest, SlotsAreTakenOnceAndSharedEqually) {
  ASSERT_OK_AND_ASSIGN(const auto pool, StagingPool::Create(4, 2 * kMiB, /*numa_node=*/0));
  EXPECT_EQ(pool->share(), 4u);
  pool->AddUser();
  EXPECT_EQ(pool->share(), 4u);
  for (uint32_t users = 2; users <= 9; ++users) {
    pool->AddUser();
    EXPECT_EQ(pool->share(), std::max(1u, 4 / users));
  }
  std::set<uint32_t> taken;
  while (const auto slot = pool->TakeSlot()) EXPECT_TRUE(taken.insert(*slot).second);
  EXPECT_THAT(taken, SizeIs(4));
  pool->GiveSlot(2);
  EXPECT_EQ(pool->TakeSlot(), 2u);
  for (uint32_t users = 9; users > 0; --users) pool->RemoveUser();
}

TEST(StagingPoolTest, RefusesWhatNoPoolIs) {
  for (const auto& [count, bytes] : std::vector<std::pair<uint32_t, uint64_t>>{
           {0, 2 * kMiB}, {1, 0}, {1, kMiB}, {1, 2 * kMiB + 4096}}) {
    EXPECT_THAT(StagingPool::Create(count, bytes),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multiple of 2 MiB")));
  }
}

TEST(StagingPoolTest, NoMemoryIsAnError) {
  // More than an address space holds.
  EXPECT_THAT(StagingPool::Create(1024, uint64_t{1} << 40),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("staging buffers")));
}

// So that a volume that hangs leaves something to the others.
TEST(StagingPoolTest, OneVolumeNeverHasAllSlots) {
  const int a = 0;
  const int b = 0;
  for (const uint32_t slot_count : {2U, 6U, 12U}) {
    const auto pool = *StagingPool::Create(slot_count, 2 * kMiB);
    std::vector<uint32_t> taken;
    while (const auto slot = pool->TakeSlot(&a)) taken.push_back(*slot);
    EXPECT_EQ(taken.size(), slot_count - std::max(1U, slot_count / 6));
    EXPECT_OK(pool->CheckNotAllStuck(&a));
    for (const uint32_t slot : taken) pool->MarkStuck(slot);
    EXPECT_EQ(pool->stuck_slots(), taken.size());
    EXPECT_THAT(pool->CheckNotAllStuck(&a),
                AllOf(StatusIs(absl::StatusCode::kUnavailable, HasSubstr("staging buffers")),
                      ReasonIs(Reason::kVolumeStuck, _)));
    EXPECT_OK(pool->CheckNotAllStuck(&b));
    const auto left = pool->TakeSlot(&b);
    ASSERT_TRUE(left.has_value());
    pool->GiveSlot(*left);
    pool->GiveSlot(taken[0]);
    EXPECT_OK(pool->CheckNotAllStuck(&a));
    EXPECT_TRUE(pool->TakeSlot(&a).has_value());
  }
}

TEST(StagingPoolTest, StuckSlotsAreNobodysShare) {
  const int a = 0;
  const int b = 0;
  const auto pool = *StagingPool::Create(4, 2 * kMiB);
  pool->AddUser();
  EXPECT_EQ(pool->share(), 4U);
  for (int i = 0; i < 2; ++i) pool->MarkStuck(*pool->TakeSlot(&a));
  EXPECT_EQ(pool->share(), 2U);
  // Where each is stuck, nobody waits.
  pool->MarkStuck(*pool->TakeSlot(&b));
  pool->MarkStuck(*pool->TakeSlot());
  EXPECT_EQ(pool->share(), 1U);
  EXPECT_THAT(pool->CheckNotAllStuck(), ReasonIs(Reason::kVolumeStuck, HasSubstr("4 of 4")));
}

}  // namespace
}  // namespace weightd::testing
