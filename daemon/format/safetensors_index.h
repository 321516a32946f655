#ifndef WEIGHTD_DAEMON_FORMAT_SAFETENSORS_INDEX_H_
#define WEIGHTD_DAEMON_FORMAT_SAFETENSORS_INDEX_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Reads model.safetensors.index.json, the map from tensor to shard of a checkpoint of several files
// (shared/formats.md 2.6). Thread-safe: pure functions.

namespace weightd {

inline constexpr uint64_t kSafetensorsIndexBytesMax = uint64_t{64} << 20;

struct SafetensorsIndexLimits {
  uint64_t tensors_max = 1'000'000;  // names in the map, 1..16,000,000
  uint64_t shards_max = 4096;        // files that the map names, 1..65,536
  absl::Status Validate() const;
};

struct SafetensorsIndex {
  struct Entry {
    std::string tensor;
    uint32_t shard_index = 0;  // into `shards`
  };
  std::vector<std::string> shards;  // plain file names beside the index, sorted, each once
  std::vector<Entry> entries;       // in the order of the file; names are unique
  // `metadata.total_size`, where it is an integer. Producers disagree on what it counts: never
  // rely on it.
  std::optional<uint64_t> total_size;
};

// `path` is for messages; `text` is not copied if it has room for kJsonPaddingBytes more.
// DATA_LOSS/CHECKPOINT_INVALID for text that breaks the rules: both levels are objects,
// `weight_map` is there once and names a tensor at least, its values are strings, no tensor occurs
// twice. PERMISSION_DENIED/PATH_OUTSIDE_ROOT for a shard that is not a plain file name.
// RESOURCE_EXHAUSTED/LIMIT_EXCEEDED beyond the limits or kSafetensorsIndexBytesMax.
absl::StatusOr<SafetensorsIndex> ParseSafetensorsIndex(std::string text, absl::string_view path,
                                                       const SafetensorsIndexLimits& limits = {});

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_SAFETENSORS_INDEX_H_
