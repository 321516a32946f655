#ifndef WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_CHECKPOINT_WRITER_H_
#define WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_CHECKPOINT_WRITER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "tests/support/checkpoints/tensor_specs.h"

// Writes safetensors checkpoints for tests and benchmarks: valid ones as the reference writer
// would, with content that can be checked at any place (FillTensorBytes), and raw ones for what no
// writer makes. Memory stays below 8 MiB whatever the size. Directories are made as needed, files
// are replaced. Thread-safe.

namespace weightd::testing {

struct WriteOptions {
  uint64_t seed = 1;  // of the content
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  // The header is padded to a multiple of this; 8 is what the reference writer does. 1 leaves it
  // as it comes, so that tensors may lie at odd offsets.
  uint64_t header_alignment = 8;
  // Lay tensors out as given instead of by dtype and name.
  bool keep_order = false;
};

// The header that WriteSafetensors writes, without the length before it.
std::string SafetensorsHeaderText(absl::Span<const TensorSpec> specs, const WriteOptions& options);

// The 8 bytes of a header length and `header`: the start of a file, valid or not.
std::string SafetensorsPrefix(absl::string_view header);

// One file.
absl::Status WriteSafetensors(const std::string& path, absl::Span<const TensorSpec> specs,
                              const WriteOptions& options = {});

// `specs` split in their order into `count` parts of about equal bytes, none empty where there are
// enough tensors.
std::vector<std::vector<TensorSpec>> SplitSpecs(absl::Span<const TensorSpec> specs, uint64_t count);

// "model-00002-of-00004.safetensors": `index` counts from 0.
std::string ShardName(uint64_t index, uint64_t count);

// <dir>/model-0000i-of-0000n.safetensors and <dir>/model.safetensors.index.json; with one shard
// <dir>/model.safetensors without an index.
absl::Status WriteSharded(const std::string& dir, absl::Span<const TensorSpec> specs,
                          uint64_t shard_count, const WriteOptions& options = {});

// WriteSharded in the layout of a Hugging Face hub cache below `root`:
//
//   models--org--name/blobs/<hash>
//   models--org--name/snapshots/<revision>/<file> -> ../../blobs/<hash>
//   models--org--name/refs/main                   <revision>
absl::Status WriteHubCache(const std::string& root, absl::string_view model,
                           absl::string_view revision, absl::Span<const TensorSpec> specs,
                           uint64_t shard_count, const WriteOptions& options = {});

// The index that WriteSharded writes.
std::string IndexText(absl::Span<const std::vector<TensorSpec>> shards);

// A file with exactly these bytes.
absl::Status WriteRawFile(const std::string& path, absl::string_view bytes);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_CHECKPOINT_WRITER_H_
