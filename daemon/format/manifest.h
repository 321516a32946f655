#ifndef WEIGHTD_DAEMON_FORMAT_MANIFEST_H_
#define WEIGHTD_DAEMON_FORMAT_MANIFEST_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/dtype.h"

// All tensors of a checkpoint and where their bytes lie in its files. Plain data:
// thread-compatible.
//
//   shard file   | 8 | header JSON | data section ................................. |
//                0   8             data_offset             data_offset + data_bytes
//                                                          = file_bytes
//   tensor                          ^ data_offset + offset, bytes

namespace weightd {

using Shape = absl::InlinedVector<uint64_t, 4>;

struct TensorEntry {
  std::string name;
  Dtype dtype = Dtype::kU8;
  Shape shape;
  uint32_t shard_index = 0;
  uint64_t offset = 0;  // from the start of the shard's data section
  uint64_t bytes = 0;
};

// What one file holds.
struct ShardEntry {
  std::string path;          // relative to the root, for messages
  uint64_t file_bytes = 0;   // when its header was read
  uint64_t data_offset = 0;  // of the data section in the file
  uint64_t data_bytes = 0;
};

struct Manifest {
  std::vector<ShardEntry> shards;
  // By shard, then by offset, then by name. Names are unique.
  std::vector<TensorEntry> tensors;
  // `__metadata__` of the files; where shards differ, the first one's value stands.
  std::map<std::string, std::string> metadata;

  uint64_t tensor_bytes() const {
    uint64_t total = 0;
    for (const TensorEntry& tensor : tensors) total += tensor.bytes;
    return total;
  }
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_MANIFEST_H_
