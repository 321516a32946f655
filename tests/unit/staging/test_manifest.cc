#include "tests/unit/staging/test_manifest.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "common/align.h"

namespace weightd::testing {

namespace {

void AddTo(Manifest& manifest, FileFormat format, uint64_t data_offset, uint64_t header_bytes,
           const std::vector<TestTensor>& tensors) {
  const auto shard_index = static_cast<uint32_t>(manifest.shards.size());
  uint64_t offset = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (i > 0) offset += header_bytes;
    TensorEntry entry;
    entry.name = absl::StrCat("t", shard_index, ".", manifest.tensors.size());
    entry.dtype = tensors[i].dtype;
    entry.shard_index = shard_index;
    entry.offset = offset;
    entry.bytes = tensors[i].bytes;
    entry.is_meta = tensors[i].is_meta;
    offset += entry.file_bytes();
    manifest.tensors.push_back(entry);
  }
  ShardEntry shard;
  shard.path = absl::StrCat("shard-", shard_index,
                            format == FileFormat::kTensors ? ".tensors" : ".safetensors");
  shard.format = format;
  shard.data_offset = data_offset;
  shard.data_bytes = offset;
  shard.file_bytes = data_offset + offset;
  manifest.shards.push_back(shard);
}

}  // namespace

void AddShard(Manifest& manifest, uint64_t data_offset, const std::vector<TestTensor>& tensors) {
  AddTo(manifest, FileFormat::kSafetensors, data_offset, 0, tensors);
}

void AddTensorsShard(Manifest& manifest, uint64_t data_offset, uint64_t header_bytes,
                     const std::vector<TestTensor>& tensors) {
  AddTo(manifest, FileFormat::kTensors, data_offset, header_bytes, tensors);
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
    const bool is_tensors = random() % 3 == 0;
    // Some so that all their data is aligned.
    const bool is_aligned = is_tensors && random() % 3 == 0;
    std::vector<TestTensor> tensors;
    for (uint64_t used = 0; used < section_bytes;) {
      const Dtype dtype = kDtypes[random() % kDtypes.size()];
      const uint64_t element = DtypeBits(dtype) / 8;
      uint64_t bytes = random() % (section_bytes - used + 1);
      if (random() % 8 == 0) bytes = 0;
      bytes = std::max(AlignDown(bytes, element), random() % 8 == 0 ? 0 : element);
      if (is_aligned) bytes = AlignUp(bytes, 256);
      tensors.push_back({dtype, bytes, is_tensors && bytes > 0 && random() % 8 == 0});
      used += std::max<uint64_t>(bytes, 1);
    }
    if (is_tensors) {
      AddTensorsShard(manifest, is_aligned ? AlignUp(data_offset, 256) : data_offset,
                      is_aligned ? 256 : 66 + random() % 100, tensors);
    } else {
      AddShard(manifest, data_offset, tensors);
    }
  }
  return manifest;
}

}  // namespace weightd::testing
