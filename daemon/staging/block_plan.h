#ifndef WEIGHTD_DAEMON_STAGING_BLOCK_PLAN_H_
#define WEIGHTD_DAEMON_STAGING_BLOCK_PLAN_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "daemon/format/manifest.h"
#include "daemon/staging/layout.h"

// Cuts the files of a checkpoint into whole-file runs of blocks, never into tensors.
//
// Blocks begin at multiples of the block size in the file, except the first of a file, which begins
// at the last multiple of 4096 before its data section. Thread-compatible.

namespace weightd {

struct Block {
  uint32_t shard_index = 0;
  uint64_t file_offset = 0;  // a multiple of 4096
  uint64_t read_bytes = 0;   // from file_offset to the block's or the file's end
  uint64_t skip_bytes = 0;   // of what was read: the header's end, not wanted
  uint64_t destination = 0;  // in the allocation, of the first wanted byte
  bool congruent = false;    // may be read straight into host memory

  uint64_t wanted_bytes() const { return read_bytes - skip_bytes; }
};

class BlockPlan {
 public:
  // `block_bytes` is a multiple of 4096. Manifest and layout must outlive the plan.
  BlockPlan(const Manifest& manifest, const Layout& layout, uint64_t block_bytes);

  // The next block, or nullopt after the last.
  std::optional<Block> Next();

  // Sum of all blocks' wanted bytes: the sections' bytes.
  uint64_t total_bytes() const { return total_bytes_; }

 private:
  const Manifest& manifest_;
  const Layout& layout_;
  uint64_t block_bytes_;
  uint64_t total_bytes_ = 0;
  uint32_t shard_index_ = 0;
  uint64_t position_ = 0;  // next byte of the shard's data section
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_BLOCK_PLAN_H_
