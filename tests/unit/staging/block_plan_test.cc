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

// Bytes of tensors that blocks put where the layout has them, before moves.
class PieceCount {
 public:
  PieceCount(const Manifest& manifest, const Layout& layout)
      : manifest_(manifest), done_(manifest.tensors.size(), 0) {
    from_ = layout.tensor_offsets;
    for (const TensorMove& move : layout.moves) from_[move.tensor_index] = move.from;
  }
  void Take(const Block& block, const BlockPieces& pieces) {
    uint64_t end = 0;
    pieces.ForEach(block, [&](const BlockPiece& piece) {
      EXPECT_GT(piece.bytes, 0);
      EXPECT_GE(piece.block_offset, end);
      end = piece.block_offset + piece.bytes;
      uint64_t& done = done_[piece.tensor_index];
      EXPECT_EQ(piece.tensor_offset, done);
      EXPECT_EQ(piece.destination, from_[piece.tensor_index] + done);
      EXPECT_LE(piece.destination + piece.bytes, block.destination_end);
      done += piece.bytes;
    });
    EXPECT_LE(end, block.wanted_bytes());
  }
  void ExpectAll() const {
    for (size_t i = 0; i < done_.size(); ++i) {
      EXPECT_EQ(done_[i], manifest_.tensors[i].file_bytes()) << i;
    }
  }

 private:
  const Manifest& manifest_;
  std::vector<uint64_t> from_;
  std::vector<uint64_t> done_;
};

void CheckFileBlock(const Block& block, const Manifest& manifest, const Layout& layout,
                    uint64_t position) {
  const ShardEntry& shard = manifest.shards[block.shard_index];
  const ShardPlacement& placement = layout.shards[block.shard_index];
  ASSERT_TRUE(IsAligned(block.file_offset, 4096));
  ASSERT_LT(block.skip_bytes, 4096);
  ASSERT_EQ(block.file_offset + block.skip_bytes, shard.data_offset + position);
  ASSERT_LE(block.file_offset + block.read_bytes, shard.file_bytes);
  ASSERT_EQ(block.kind == Block::Kind::kScattered, placement.scattered);
  ASSERT_EQ(block.congruent, placement.congruent);
  if (!placement.scattered) {
    ASSERT_EQ(block.destination, placement.section_offset + position);
    ASSERT_EQ(block.destination_end, block.destination + block.wanted_bytes());
  }
  if (block.congruent) {
    const uint64_t begin = block.destination - block.skip_bytes;
    ASSERT_TRUE(IsAligned(begin, 4096));
    ASSERT_LE(begin + AlignUp(block.read_bytes, 4096), layout.allocation_bytes);
  }
}

// The sections are read in order, without gap or overlap, and every byte goes where it belongs;
// zeros come last.
void CheckBlocks(const Manifest& manifest, const Layout& layout, uint64_t block_bytes) {
  BlockPlan plan(manifest, layout, block_bytes);
  PieceCount pieces(manifest, layout);
  std::vector<uint64_t> done(manifest.shards.size(), 0);
  uint64_t total = 0;
  uint64_t zeros = 0;
  for (auto block = plan.Next(); block.has_value(); block = plan.Next()) {
    ASSERT_LE(block->read_bytes, block_bytes);
    ASSERT_GT(block->wanted_bytes(), 0);
    ASSERT_LE(block->wanted_bytes(), block_bytes);
    total += block->wanted_bytes();
    if (block->kind == Block::Kind::kZeros) {
      zeros += block->wanted_bytes();
      continue;
    }
    ASSERT_EQ(zeros, 0);
    CheckFileBlock(*block, manifest, layout, done[block->shard_index]);
    pieces.Take(*block, plan.pieces());
    done[block->shard_index] += block->wanted_bytes();
  }
  ASSERT_EQ(total, plan.total_bytes());
  for (size_t i = 0; i < done.size(); ++i) ASSERT_EQ(done[i], manifest.shards[i].data_bytes);
  pieces.ExpectAll();
  uint64_t meta_bytes = 0;
  for (const TensorEntry& tensor : manifest.tensors) {
    if (tensor.is_meta) meta_bytes += tensor.bytes;
  }
  ASSERT_EQ(zeros, meta_bytes);
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
