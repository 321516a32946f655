#include "tests/unit/staging/test_manifest.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "common/align.h"

namespace weightd::testing {

void AddShard(Manifest& manifest, uint64_t data_offset, const std::vector<TestTensor>& tensors) {
  const auto shard_index = static_cast<uint32_t>(manifest.shards.size());
  uint64_t offset = 0;
  for (const TestTensor& tensor : tensors) {
    TensorEntry entry;
    entry.name = absl::StrCat("t", shard_index, ".", manifest.tensors.size());
    entry.dtype = tensor.dtype;
    entry.shard_index = shard_index;
    entry.offset = offset;
    entry.bytes = tensor.bytes;
    manifest.tensors.push_back(entry);
    offset += tensor.bytes;
  }
  ShardEntry shard;
  shard.path = absl::StrCat("shard-", shard_index, ".safetensors");
  shard.data_offset = data_offset;
  shard.data_bytes = offset;
  shard.file_bytes = data_offset + offset;
  manifest.shards.push_back(shard);
}

Manifest RandomManifest(std::mt19937_64& random, uint64_t section_bytes_max) {
  constexpr std::array kDtypes = {Dtype::kU8, Dtype::kBf16, Dtype::kF32, Dtype::kF64};
  Manifest manifest;
  const uint64_t shard_count = 1 + random() % 4;
  for (uint64_t i = 0; i < shard_count; ++i) {
    // The reference writer aligns to 8; others do not.
    const uint64_t header = 10 + random() % 20'000;
    const uint64_t data_offset = random() % 2 == 0 ? AlignUp(header, 8) : header;
    const uint64_t section_bytes = random() % 5 == 0 ? 0 : random() % section_bytes_max;
    std::vector<TestTensor> tensors;
    for (uint64_t used = 0; used < section_bytes;) {
      const Dtype dtype = kDtypes[random() % kDtypes.size()];
      const uint64_t element = DtypeBits(dtype) / 8;
      uint64_t bytes = random() % (section_bytes - used + 1);
      if (random() % 8 == 0) bytes = 0;
      bytes = std::max(AlignDown(bytes, element), random() % 8 == 0 ? 0 : element);
      tensors.push_back({dtype, bytes});
      used += std::max<uint64_t>(bytes, 1);
    }
    AddShard(manifest, data_offset, tensors);
  }
  return manifest;
}

}  // namespace weightd::testing
