#include "daemon/staging/layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/dtype.h"
#include "common/errors.h"

namespace weightd {
namespace {

constexpr uint64_t kAllocationBytesMax = uint64_t{1} << 62;

// The strictest alignment among the tensors of each shard.
std::vector<uint32_t> ShardAlignments(const Manifest& manifest) {
  std::vector<uint32_t> alignments(manifest.shards.size(), 1);
  for (const TensorEntry& tensor : manifest.tensors) {
    uint32_t& alignment = alignments[tensor.shard_index];
    alignment = std::max(alignment, DtypeAlignment(tensor.dtype));
  }
  return alignments;
}

absl::Status TooLarge() {
  return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kBudgetExceeded,
                         "plan layout: the files' sizes add up to more than 2^62 bytes");
}

}  // namespace

absl::StatusOr<Layout> PlanLayout(const Manifest& manifest, LayoutTarget target) {
  Layout layout;
  layout.shards.reserve(manifest.shards.size());
  layout.tensor_offsets.reserve(manifest.tensors.size());
  const std::vector<uint32_t> alignments = ShardAlignments(manifest);

  uint64_t end = 0;
  for (size_t i = 0; i < manifest.shards.size(); ++i) {
    const ShardEntry& shard = manifest.shards[i];
    if (shard.file_bytes > kAllocationBytesMax || end > kAllocationBytesMax) return TooLarge();
    ShardPlacement placement;
    placement.congruent =
        target == LayoutTarget::kHostMemory && IsAligned(shard.data_offset, alignments[i]);
    placement.section_offset = placement.congruent ? AlignUp(end, kCongruenceModulus) +
                                                         shard.data_offset % kCongruenceModulus
                                                   : AlignUp(end, kSectionAlignment);
    end = placement.section_offset + shard.data_bytes;
    // A direct read of a file's tail may write up to the next multiple.
    if (placement.congruent) end = AlignUp(end, kCongruenceModulus);
    layout.shards.push_back(placement);
  }

  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest.tensors[i];
    uint64_t offset = layout.shards[tensor.shard_index].section_offset + tensor.offset;
    if (tensor.bytes > 0 && !IsAligned(offset, DtypeAlignment(tensor.dtype))) {
      const uint64_t to = AlignUp(end, kMovedTensorAlignment);
      layout.moves.push_back({.tensor_index = i, .from = offset, .to = to, .bytes = tensor.bytes});
      offset = to;
      end = to + tensor.bytes;
      if (end > kAllocationBytesMax) return TooLarge();  // before the next one may wrap
    }
    layout.tensor_offsets.push_back(offset);
  }
  if (end > kAllocationBytesMax) return TooLarge();
  layout.allocation_bytes = std::max<uint64_t>(end, 1);
  return layout;
}

}  // namespace weightd
