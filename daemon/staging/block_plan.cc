#include "daemon/staging/block_plan.h"

#include <algorithm>

#include "common/align.h"

namespace weightd {

BlockPlan::BlockPlan(const Manifest& manifest, const Layout& layout, uint64_t block_bytes)
    : manifest_(manifest), layout_(layout), block_bytes_(block_bytes) {
  for (const ShardEntry& shard : manifest.shards) total_bytes_ += shard.data_bytes;
}

std::optional<Block> BlockPlan::Next() {
  while (shard_index_ < manifest_.shards.size() &&
         position_ == manifest_.shards[shard_index_].data_bytes) {
    ++shard_index_;
    position_ = 0;
  }
  if (shard_index_ == manifest_.shards.size()) return std::nullopt;

  const ShardEntry& shard = manifest_.shards[shard_index_];
  const ShardPlacement& placement = layout_.shards[shard_index_];
  const uint64_t wanted_from = shard.data_offset + position_;
  Block block;
  block.shard_index = shard_index_;
  block.file_offset = AlignDown(wanted_from, kCongruenceModulus);
  const uint64_t file_end = shard.data_offset + shard.data_bytes;
  const uint64_t block_end =
      std::min((block.file_offset / block_bytes_ + 1) * block_bytes_, file_end);
  block.read_bytes = block_end - block.file_offset;
  block.skip_bytes = wanted_from - block.file_offset;
  block.destination = placement.section_offset + position_;
  block.congruent = placement.congruent;
  position_ += block.wanted_bytes();
  return block;
}

}  // namespace weightd
