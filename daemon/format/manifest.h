#ifndef WEIGHTD_DAEMON_FORMAT_MANIFEST_H_
#define WEIGHTD_DAEMON_FORMAT_MANIFEST_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/dtype.h"
#include "daemon/format/sha256.h"

// All tensors of a checkpoint and where their bytes lie in its files. Plain data:
// thread-compatible.
//
//   .safetensors | 8 | header JSON | data section ................................. |
//                0   8             data_offset             data_offset + data_bytes
//                                                          = file_bytes
//   tensor                          ^ data_offset + offset, bytes
//
//   .tensors     | 73 | index | header | data section: data | header | data ... data | 8 |
//                                      data_offset             data_offset + data_bytes
//   tensor                              ^ data_offset + offset, bytes; headers lie between

namespace weightd {

using Shape = absl::InlinedVector<uint64_t, 4>;

enum class FileFormat : uint8_t { kSafetensors, kTensors };

struct TensorEntry {
  std::string name;
  Dtype dtype = Dtype::kU8;
  Shape shape;
  uint32_t shard_index = 0;
  uint64_t offset = 0;  // from the start of the shard's data section
  uint64_t bytes = 0;   // in memory
  // Of a .tensors file: has a shape and no data. It loads as zeros.
  bool is_meta = false;

  uint64_t file_bytes() const { return is_meta ? 0 : bytes; }
};

// Hashes that a file has of one of its tensors. They cover the tensor's header, as it was before
// the hashes were put in, and its data, decrypted (shared/formats.md 1.8).
struct StoredHashes {
  std::optional<uint32_t> crc32;
  std::optional<Sha256> sha256;
  // What is hashed before the data: `header`, `header_zeros` zero bytes, the length of the data as
  // 8 bytes.
  std::string header;
  uint64_t header_zeros = 0;

  bool any() const { return crc32.has_value() || sha256.has_value(); }
};

// XSalsa20-Poly1305 of libsodium's secretbox, in pieces (shared/formats.md 1.10.2).
struct TensorEncryption {
  uint64_t piece_bytes = 0;                     // of plaintext; the last piece may have less
  std::array<std::byte, 24> nonce = {};         // of the first piece; that of piece i is i more
  std::vector<std::array<std::byte, 16>> tags;  // one per piece
};

// How the key of a file comes from a password (shared/formats.md 1.10.3): Argon2id.
struct KeyDerivation {
  uint64_t operations = 0;
  uint64_t memory_bytes = 0;
  std::array<std::byte, 16> salt = {};

  friend bool operator==(const KeyDerivation&, const KeyDerivation&) = default;
};

// What a module's tensor was to the module.
enum class TensorKind : uint8_t { kUnknown, kParameter, kBuffer, kStateDictEntry };

// What a .tensors file says of a tensor, beside where it is.
struct StoredTensor {
  TensorKind kind = TensorKind::kUnknown;
  uint16_t module_index = 0;
  std::string torch_dtype;  // "torch.uint4", of Dtype::kOpaque8 to kOpaque64 only
  StoredHashes hashes;
  std::optional<TensorEncryption> encryption;
};

// What one file holds.
struct ShardEntry {
  std::string path;          // relative to the root, for messages
  uint64_t file_bytes = 0;   // when its header was read
  uint64_t data_offset = 0;  // of the data section in the file
  uint64_t data_bytes = 0;   // of the section
  FileFormat format = FileFormat::kSafetensors;
  bool is_encrypted = false;
  std::optional<KeyDerivation> key_derivation;
};

// The header of one file, checked.
struct ShardHeader {
  ShardEntry shard;
  // By offset, then by name; `shard_index` is 0. Names are unique.
  std::vector<TensorEntry> tensors;
  std::vector<StoredTensor> stored;             // like `tensors` for .tensors, else empty
  std::map<std::string, std::string> metadata;  // `__metadata__` of safetensors
};

struct Manifest {
  std::vector<ShardEntry> shards;
  // By shard, then by offset, then by name. Names are unique.
  std::vector<TensorEntry> tensors;
  // Like `tensors` where a file is .tensors (nothing is said of those of others), else empty.
  std::vector<StoredTensor> stored;
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
