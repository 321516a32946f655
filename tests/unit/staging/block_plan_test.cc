#include "daemon/staging/block_plan.h"

#include <vector>

#include "common/align.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/staging/test_manifest.h"

namespace weightd::testing {
namespace {

constexpr uint64_t kBlock = 16 * kKiB;

std::vector<Block> AllBlocks(BlockPlan& plan) {
  std::vector<Block> blocks;
  for (auto block = plan.Next(); block.has_value(); block = plan.Next()) blocks.push_back(*block);
  EXPECT_FALSE(plan.Next().has_value());
  return blocks;
}

TEST(BlockPlanTest, FirstBlockBeginsBeforeTheSectionAndLastEndsWithTheFile) {
  Manifest manifest;
  AddShard(manifest, 5000, {{Dtype::kU8, 40'000}});
  const auto layout = PlanLayout(manifest, LayoutTarget::kHostMemory);
  ASSERT_OK(layout);
  BlockPlan plan(manifest, *layout, kBlock);
  EXPECT_EQ(plan.total_bytes(), 40'000);
  const std::vector<Block> blocks = AllBlocks(plan);
  ASSERT_EQ(blocks.size(), 3);
  EXPECT_EQ(blocks[0].file_offset, 4096);
  EXPECT_EQ(blocks[0].skip_bytes, 904);
  EXPECT_EQ(blocks[0].read_bytes, kBlock - 4096);
  EXPECT_EQ(blocks[0].destination, layout->shards[0].section_offset);
  EXPECT_TRUE(blocks[0].congruent);
  EXPECT_EQ(blocks[1].file_offset, kBlock);
  EXPECT_EQ(blocks[1].read_bytes, kBlock);
  EXPECT_EQ(blocks[1].skip_bytes, 0);
  EXPECT_EQ(blocks[2].file_offset + blocks[2].read_bytes, 45'000);
}

TEST(BlockPlanTest, NothingToReadHasNoBlocks) {
  Manifest manifest;
  AddShard(manifest, 5000, {});
  AddShard(manifest, 5000, {{Dtype::kF32, 0}});
  const auto layout = PlanLayout(manifest, LayoutTarget::kDeviceMemory);
  ASSERT_OK(layout);
  BlockPlan plan(manifest, *layout, kBlock);
  EXPECT_EQ(plan.total_bytes(), 0);
  EXPECT_TRUE(AllBlocks(plan).empty());
}

// The sections are read in order, without gap or overlap, and every byte goes where its section is.
void CheckBlocks(const Manifest& manifest, const Layout& layout, uint64_t block_bytes) {
  BlockPlan plan(manifest, layout, block_bytes);
  std::vector<uint64_t> done(manifest.shards.size(), 0);
  uint64_t total = 0;
  for (auto block = plan.Next(); block.has_value(); block = plan.Next()) {
    const ShardEntry& shard = manifest.shards[block->shard_index];
    uint64_t& position = done[block->shard_index];
    ASSERT_TRUE(IsAligned(block->file_offset, 4096));
    ASSERT_LE(block->read_bytes, block_bytes);
    ASSERT_GT(block->wanted_bytes(), 0);
    ASSERT_LT(block->skip_bytes, 4096);
    ASSERT_EQ(block->file_offset + block->skip_bytes, shard.data_offset + position);
    ASSERT_LE(block->file_offset + block->read_bytes, shard.file_bytes);
    ASSERT_EQ(block->destination, layout.shards[block->shard_index].section_offset + position);
    ASSERT_EQ(block->congruent, layout.shards[block->shard_index].congruent);
    if (block->congruent) {
      const uint64_t begin = block->destination - block->skip_bytes;
      ASSERT_TRUE(IsAligned(begin, 4096));
      ASSERT_LE(begin + AlignUp(block->read_bytes, 4096), layout.allocation_bytes);
    }
    position += block->wanted_bytes();
    total += block->wanted_bytes();
  }
  ASSERT_EQ(total, plan.total_bytes());
  for (size_t i = 0; i < done.size(); ++i) ASSERT_EQ(done[i], manifest.shards[i].data_bytes);
}

TEST(BlockPlanTest, RandomManifestsAreCoveredExactlyOnce) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 2000 && !HasFatalFailure(); ++round) {
    const Manifest manifest = RandomManifest(random, 100'000);
    const auto target = round % 2 == 0 ? LayoutTarget::kHostMemory : LayoutTarget::kDeviceMemory;
    const auto layout = PlanLayout(manifest, target);
    ASSERT_OK(layout);
    SCOPED_TRACE(round);
    CheckBlocks(manifest, *layout, 4096 << (random() % 5));
  }
}

}  // namespace
}  // namespace weightd::testing
