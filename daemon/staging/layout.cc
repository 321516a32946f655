#include "daemon/staging/layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/dtype.h"
#include "common/errors.h"

namespace weightd {
namespace {

constexpr uint64_t kAllocationBytesMax = uint64_t{1} << 62;

// What PlanLayout needs to know of the tensors of one shard.
struct ShardFacts {
  uint32_t alignment = 1;     // the strictest of their dtypes
  bool all_aligned = true;    // data lies at multiples of kScatterAlignment in the file
  uint64_t tensor_bytes = 0;  // in the file
};

std::vector<ShardFacts> FactsOf(const Manifest& manifest) {
  std::vector<ShardFacts> facts(manifest.shards.size());
  for (const TensorEntry& tensor : manifest.tensors) {
    if (tensor.is_meta) continue;
    ShardFacts& of = facts[tensor.shard_index];
    of.alignment = std::max(of.alignment, DtypeAlignment(tensor.dtype));
    of.tensor_bytes += tensor.bytes;
    const uint64_t in_file = manifest.shards[tensor.shard_index].data_offset + tensor.offset;
    if (tensor.bytes > 0 && !IsAligned(in_file, kScatterAlignment)) of.all_aligned = false;
  }
  return facts;
}

// A section that would keep more headers than an eighth of it is scattered too.
bool MustScatter(const ShardEntry& shard, const ShardFacts& facts) {
  if (shard.format != FileFormat::kTensors) return false;
  return !facts.all_aligned || shard.data_bytes - facts.tensor_bytes > shard.data_bytes / 8;
}

absl::Status TooLarge() {
  return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kBudgetExceeded,
                         "plan layout: the files' sizes add up to more than 2^62 bytes");
}

// Where the section of one shard goes, behind `end`, which moves on.
ShardPlacement PlaceSection(const ShardEntry& shard, const ShardFacts& facts, LayoutTarget target,
                            uint64_t& end) {
  ShardPlacement placement;
  placement.congruent =
      target == LayoutTarget::kHostMemory && IsAligned(shard.data_offset, facts.alignment);
  placement.section_offset = placement.congruent ? AlignUp(end, kCongruenceModulus) +
                                                       shard.data_offset % kCongruenceModulus
                                                 : AlignUp(end, kSectionAlignment);
  end = placement.section_offset + shard.data_bytes;
  // A direct read of a file's tail may write up to the next multiple.
  if (placement.congruent) end = AlignUp(end, kCongruenceModulus);
  return placement;
}

// The offset of a tensor that has a place of its own, behind `end`, which moves on.
uint64_t PlaceAlone(const TensorEntry& tensor, uint64_t& end) {
  const uint64_t offset = AlignUp(end, kScatterAlignment);
  end = offset + tensor.bytes;
  return offset;
}

}  // namespace

absl::StatusOr<Layout> PlanLayout(const Manifest& manifest, LayoutTarget target) {
  Layout layout;
  layout.shards.reserve(manifest.shards.size());
  layout.tensor_offsets.reserve(manifest.tensors.size());
  const std::vector<ShardFacts> facts = FactsOf(manifest);

  uint64_t end = 0;
  for (size_t i = 0; i < manifest.shards.size(); ++i) {
    const ShardEntry& shard = manifest.shards[i];
    if (shard.file_bytes > kAllocationBytesMax || end > kAllocationBytesMax) return TooLarge();
    if (MustScatter(shard, facts[i])) {
      layout.shards.push_back({.section_offset = 0, .congruent = false, .scattered = true});
    } else {
      layout.shards.push_back(PlaceSection(shard, facts[i], target, end));
    }
  }

  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest.tensors[i];
    const ShardPlacement& placement = layout.shards[tensor.shard_index];
    uint64_t offset = placement.section_offset + tensor.offset;
    // Before the next one may wrap.
    if (end > kAllocationBytesMax || tensor.bytes > kAllocationBytesMax) return TooLarge();
    if (tensor.is_meta) {
      offset = PlaceAlone(tensor, end);
      layout.zeros.push_back({.offset = offset, .bytes = tensor.bytes});
    } else if (placement.scattered) {
      offset = PlaceAlone(tensor, end);
    } else if (tensor.bytes > 0 && !IsAligned(offset, DtypeAlignment(tensor.dtype))) {
      const uint64_t to = AlignUp(end, kMovedTensorAlignment);
      layout.moves.push_back({.tensor_index = i, .from = offset, .to = to, .bytes = tensor.bytes});
      offset = to;
      end = to + tensor.bytes;
    }
    layout.tensor_offsets.push_back(offset);
  }
  if (end > kAllocationBytesMax) return TooLarge();
  layout.allocation_bytes = std::max<uint64_t>(end, 1);
  return layout;
}

}  // namespace weightd
