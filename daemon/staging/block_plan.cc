#include "daemon/staging/block_plan.h"

#include <algorithm>

#include "common/align.h"

namespace weightd {

BlockPieces::BlockPieces(const Manifest& manifest, const Layout& layout)
    : manifest_(manifest), layout_(layout) {
  first_tensor_.reserve(manifest.shards.size() + 1);
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    while (first_tensor_.size() <= manifest.tensors[i].shard_index) first_tensor_.push_back(i);
  }
  first_tensor_.resize(manifest.shards.size() + 1, manifest.tensors.size());
}

void BlockPieces::ForEach(const Block& block,
                          absl::FunctionRef<void(const BlockPiece&)> use) const {
  if (block.kind == Block::Kind::kZeros) return;
  const uint64_t data_offset = manifest_.shards[block.shard_index].data_offset;
  const uint64_t begin = block.file_offset + block.skip_bytes - data_offset;
  const uint64_t end = begin + block.wanted_bytes();
  const auto at = [&](size_t index) {
    return manifest_.tensors.begin() + static_cast<ptrdiff_t>(index);
  };
  const auto first = at(first_tensor_[block.shard_index]);
  const auto last = at(first_tensor_[block.shard_index + 1]);
  auto tensor = std::partition_point(
      first, last, [&](const TensorEntry& entry) { return entry.offset <= begin; });
  // The one before may reach into the block. Empty tensors stand anywhere among those of one
  // offset.
  while (tensor != first && (--tensor)->file_bytes() == 0) continue;
  for (; tensor != last && tensor->offset < end; ++tensor) {
    if (tensor->offset + tensor->file_bytes() <= begin || tensor->file_bytes() == 0) continue;
    const uint64_t from = std::max(tensor->offset, begin);
    BlockPiece piece;
    piece.tensor_index = static_cast<size_t>(tensor - manifest_.tensors.begin());
    piece.tensor_offset = from - tensor->offset;
    piece.block_offset = from - begin;
    piece.destination = block.kind == Block::Kind::kWhole
                            ? block.destination + piece.block_offset
                            : layout_.tensor_offsets[piece.tensor_index] + piece.tensor_offset;
    piece.bytes = std::min(tensor->offset + tensor->bytes, end) - from;
    use(piece);
  }
}

BlockPlan::BlockPlan(const Manifest& manifest, const Layout& layout, uint64_t block_bytes)
    : manifest_(manifest), layout_(layout), pieces_(manifest, layout), block_bytes_(block_bytes) {
  for (const ShardEntry& shard : manifest.shards) total_bytes_ += shard.data_bytes;
  for (const ZeroRange& zeros : layout.zeros) total_bytes_ += zeros.bytes;
}

std::optional<Block> BlockPlan::NextZeros() {
  if (zeros_index_ == layout_.zeros.size()) return std::nullopt;
  const ZeroRange& zeros = layout_.zeros[zeros_index_];
  Block block;
  block.kind = Block::Kind::kZeros;
  block.destination = zeros.offset + zeros_done_;
  block.destination_end = std::min(block.destination + block_bytes_, zeros.offset + zeros.bytes);
  zeros_done_ += block.wanted_bytes();
  if (zeros_done_ == zeros.bytes) {
    ++zeros_index_;
    zeros_done_ = 0;
  }
  return block;
}

std::optional<Block> BlockPlan::Next() {
  while (shard_index_ < manifest_.shards.size() &&
         position_ == manifest_.shards[shard_index_].data_bytes) {
    ++shard_index_;
    position_ = 0;
  }
  if (shard_index_ == manifest_.shards.size()) return NextZeros();

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
  block.congruent = placement.congruent;
  if (placement.scattered) {
    block.kind = Block::Kind::kScattered;
    pieces_.ForEach(block, [&](const BlockPiece& piece) {
      if (block.destination_end == 0) block.destination = piece.destination;
      block.destination_end = piece.destination + piece.bytes;
    });
  } else {
    block.destination = placement.section_offset + position_;
    block.destination_end = block.destination + block.wanted_bytes();
  }
  position_ += block.wanted_bytes();
  return block;
}

}  // namespace weightd
