#ifndef WEIGHTD_DAEMON_STAGING_BLOCK_PLAN_H_
#define WEIGHTD_DAEMON_STAGING_BLOCK_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "daemon/format/manifest.h"
#include "daemon/staging/layout.h"

// Cuts the files of a checkpoint into whole-file runs of blocks, never into tensors.
//
// Blocks begin at multiples of the block size in the file, except the first of a file, which begins
// at the last multiple of 4096 before its data section. Thread-compatible.

namespace weightd {

struct Block {
  enum class Kind : uint8_t {
    kWhole,      // goes to `destination` as it is
    kScattered,  // goes to many places: BlockPieces
    kZeros,      // is not read: zeros for `destination`
  };
  Kind kind = Kind::kWhole;
  uint32_t shard_index = 0;
  uint64_t file_offset = 0;      // a multiple of 4096
  uint64_t read_bytes = 0;       // from file_offset to the block's or the section's end
  uint64_t skip_bytes = 0;       // of what was read: the header's end, not wanted
  uint64_t destination = 0;      // in the allocation, of the first wanted byte
  uint64_t destination_end = 0;  // behind the last byte that it fills
  bool congruent = false;        // may be read straight into host memory

  // Of the file, or zeros.
  uint64_t wanted_bytes() const {
    return kind == Kind::kZeros ? destination_end - destination : read_bytes - skip_bytes;
  }
};

// A tensor's bytes in one block.
struct BlockPiece {
  size_t tensor_index = 0;
  uint64_t tensor_offset = 0;  // in the tensor
  uint64_t block_offset = 0;   // from the first wanted byte
  uint64_t destination = 0;    // in the allocation, moves not counted
  uint64_t bytes = 0;          // 1 or more
};

// Finds which bytes of which tensors a block holds. Thread-safe: read only. Manifest and layout
// must outlive it.
class BlockPieces {
 public:
  BlockPieces(const Manifest& manifest, const Layout& layout);

  // In the order of the file. Nothing for a block of zeros.
  void ForEach(const Block& block, absl::FunctionRef<void(const BlockPiece&)> use) const;

 private:
  const Manifest& manifest_;
  const Layout& layout_;
  std::vector<size_t> first_tensor_;  // of each shard, and one more
};

class BlockPlan {
 public:
  // `block_bytes` is a multiple of 4096. Manifest and layout must outlive the plan.
  BlockPlan(const Manifest& manifest, const Layout& layout, uint64_t block_bytes);

  // The next block, or nullopt after the last.
  std::optional<Block> Next();

  // Sum of all blocks' wanted bytes: the sections' bytes, and zeros.
  uint64_t total_bytes() const { return total_bytes_; }
  const BlockPieces& pieces() const { return pieces_; }

 private:
  std::optional<Block> NextZeros();

  const Manifest& manifest_;
  const Layout& layout_;
  const BlockPieces pieces_;
  uint64_t block_bytes_;
  uint64_t total_bytes_ = 0;
  uint32_t shard_index_ = 0;
  uint64_t position_ = 0;  // next byte of the shard's data section
  size_t zeros_index_ = 0;
  uint64_t zeros_done_ = 0;  // of that range
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_BLOCK_PLAN_H_
