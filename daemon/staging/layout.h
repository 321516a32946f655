#ifndef WEIGHTD_DAEMON_STAGING_LAYOUT_H_
#define WEIGHTD_DAEMON_STAGING_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/format/manifest.h"

// Where the bytes of a checkpoint go in the one allocation that holds it. Pure functions.
//
// A data section keeps its layout, so that one read of a block moves everything in it. Its start
// goes either
//
//   congruent  to an offset that equals its file offset modulo 4096, so that direct reads land in
//              host memory without a copy:
//
//              allocation  |  header's end | data section .......... | slack to 4096 |
//                          4096n           ^ section_offset = data_offset (mod 4096)
//
//   aligned    to a multiple of 512, filled by copies out of staging buffers: device memory always,
//              host memory when the header's length would leave every tensor misaligned.
//
// A tensor that is not aligned to its dtype even so is moved once, behind the last section.
//
// A .tensors file aligns nothing and has headers between its tensors. Where its writer padded them
// so that all data lies on 256 bytes, it is a section like any other, its headers included. Else it
// is
//
//   scattered  each tensor at a multiple of 256, headers left behind: blocks are cut into pieces as
//              they are copied out of staging buffers, on the host too.
//
// Meta tensors, which the file has no bytes of, follow all that as zeros.

namespace weightd {

inline constexpr uint64_t kSectionAlignment = 512;
inline constexpr uint64_t kCongruenceModulus = 4096;
inline constexpr uint64_t kMovedTensorAlignment = 256;
inline constexpr uint64_t kScatterAlignment = 256;

enum class LayoutTarget { kHostMemory, kDeviceMemory };

struct ShardPlacement {
  uint64_t section_offset = 0;  // of the data section in the allocation; unused if scattered
  bool congruent = false;
  bool scattered = false;
};

struct TensorMove {
  size_t tensor_index = 0;
  uint64_t from = 0;
  uint64_t to = 0;
  uint64_t bytes = 0;
};

// A meta tensor's bytes.
struct ZeroRange {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct Layout {
  uint64_t allocation_bytes = 0;         // at least 1
  std::vector<ShardPlacement> shards;    // like Manifest::shards
  std::vector<uint64_t> tensor_offsets;  // like Manifest::tensors, where they are after the moves
  std::vector<TensorMove> moves;
  std::vector<ZeroRange> zeros;
};

// RESOURCE_EXHAUSTED/BUDGET_EXCEEDED when the sizes add up to more than 2^62 bytes.
absl::StatusOr<Layout> PlanLayout(const Manifest& manifest, LayoutTarget target);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_LAYOUT_H_
