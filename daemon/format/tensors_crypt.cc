#include "daemon/format/tensors_crypt.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/status_macros.h"
#include "daemon/format/invalid.h"

namespace weightd {
namespace {

enum ChunkType : uint16_t {
  kKeyDerivationChunk = 1,
  kPiecesChunk = 2,
  kOnePieceChunk = 3,
};
constexpr uint16_t kPasswordHash = 1;
constexpr uint32_t kArgon2id = 2;
// What libsodium accepts.
constexpr uint64_t kOperationsMin = 1;
constexpr uint64_t kMemoryBytesMin = 8192;

constexpr uint64_t kPieceBytesMin = 1024;
constexpr uint64_t kPieceBytesMultiple = 64;

template <size_t Bytes>
absl::Status ReadArray(ByteReader& reader, absl::string_view field,
                       std::array<std::byte, Bytes>& value) {
  absl::Span<const std::byte> bytes;
  RETURN_IF_ERROR(reader.ReadBytes(field, Bytes, bytes));
  std::copy(bytes.begin(), bytes.end(), value.begin());
  return absl::OkStatus();
}

absl::Status Invalid(const ByteReader& reader, absl::string_view message) {
  return InvalidHeader(reader.path(),
                       absl::StrCat("crypt block, before ", reader.offset(), ": ", message));
}

absl::Status ReadKeyDerivation(ByteReader& reader, const TensorsLimits& limits,
                               KeyDerivation& key) {
  uint16_t method = 0;
  uint32_t algorithm = 0;
  uint16_t salt_bytes = 0;
  RETURN_IF_ERROR(reader.Read("key derivation method", method));
  if (method != kPasswordHash) {
    return Invalid(reader, absl::StrCat("key derivation method ", method, ", wanted 1"));
  }
  RETURN_IF_ERROR(reader.Read("operations limit", key.operations));
  RETURN_IF_ERROR(reader.Read("memory limit", key.memory_bytes));
  RETURN_IF_ERROR(reader.Read("key derivation algorithm", algorithm));
  RETURN_IF_ERROR(reader.Read("salt length", salt_bytes));
  if (algorithm != kArgon2id) {
    return Invalid(reader,
                   absl::StrCat("key derivation algorithm ", algorithm, ", wanted 2 (Argon2id)"));
  }
  if (salt_bytes != key.salt.size()) {
    return Invalid(reader, absl::StrCat("a salt of ", salt_bytes, " bytes, wanted 16"));
  }
  RETURN_IF_ERROR(ReadArray(reader, "salt", key.salt));
  if (key.operations < kOperationsMin || key.memory_bytes < kMemoryBytesMin) {
    return Invalid(reader, absl::StrCat("key derivation with ", key.operations, " operations and ",
                                        key.memory_bytes, " bytes, wanted at least 1 and 8192"));
  }
  if (key.operations > limits.derivation_operations_max ||
      key.memory_bytes > limits.derivation_memory_bytes_max) {
    return HeaderBeyondLimit(
        reader.path(), absl::StrCat("its key derivation wants ", key.operations, " operations and ",
                                    key.memory_bytes, " bytes of memory, at most ",
                                    limits.derivation_operations_max, " and ",
                                    limits.derivation_memory_bytes_max, " are allowed"));
  }
  return absl::OkStatus();
}

absl::Status ReadPieces(ByteReader& reader, uint64_t data_bytes, TensorEncryption& encryption) {
  uint64_t tag_count = 0;
  RETURN_IF_ERROR(reader.Read("chunk size", encryption.piece_bytes));
  RETURN_IF_ERROR(ReadArray(reader, "nonce", encryption.nonce));
  RETURN_IF_ERROR(reader.Read("number of tags", tag_count));
  if (encryption.piece_bytes < kPieceBytesMin ||
      encryption.piece_bytes % kPieceBytesMultiple != 0) {
    return Invalid(reader, absl::StrCat("a chunk size of ", encryption.piece_bytes,
                                        " bytes, wanted a multiple of 64 from 1024"));
  }
  const uint64_t wanted =
      data_bytes / encryption.piece_bytes + (data_bytes % encryption.piece_bytes != 0 ? 1 : 0);
  // One tag is for all of the data, whatever the chunk size says.
  if (tag_count == 1) encryption.piece_bytes = data_bytes;
  if (tag_count != 1 && tag_count != wanted) {
    return Invalid(reader, absl::StrCat(tag_count, " tags, wanted ", wanted, " for ", data_bytes,
                                        " bytes in chunks of ", encryption.piece_bytes));
  }
  if (tag_count > reader.remaining() / sizeof(encryption.tags[0])) {
    return Invalid(reader, absl::StrCat(tag_count, " tags do not fit in the ", reader.remaining(),
                                        " bytes that are left of it"));
  }
  encryption.tags.resize(tag_count);
  for (auto& tag : encryption.tags) RETURN_IF_ERROR(ReadArray(reader, "tag", tag));
  return absl::OkStatus();
}

absl::Status ReadOnePiece(ByteReader& reader, uint64_t data_bytes, TensorEncryption& encryption) {
  encryption.piece_bytes = data_bytes;
  RETURN_IF_ERROR(ReadArray(reader, "nonce", encryption.nonce));
  return ReadArray(reader, "tag", encryption.tags.emplace_back());
}

absl::Status ReadChunk(ByteReader chunk, uint64_t data_bytes, const TensorsLimits& limits,
                       TensorsCryptBlock& result) {
  uint16_t type = 0;
  RETURN_IF_ERROR(chunk.Read("chunk type", type));
  if (type == kKeyDerivationChunk) {
    if (result.key_derivation.has_value()) return Invalid(chunk, "two key derivations");
    RETURN_IF_ERROR(ReadKeyDerivation(chunk, limits, result.key_derivation.emplace()));
  } else if (type == kPiecesChunk || type == kOnePieceChunk) {
    if (result.encryption.has_value()) return Invalid(chunk, "two encryptions of one tensor");
    TensorEncryption& encryption = result.encryption.emplace();
    RETURN_IF_ERROR(type == kPiecesChunk ? ReadPieces(chunk, data_bytes, encryption)
                                         : ReadOnePiece(chunk, data_bytes, encryption));
  } else {
    return Invalid(chunk, absl::StrCat("chunk type ", type, ", wanted 1, 2 or 3"));
  }
  if (chunk.remaining() == 0) return absl::OkStatus();
  return Invalid(chunk, absl::StrCat(chunk.remaining(), " bytes too many in a chunk"));
}

}  // namespace

absl::Status ParseTensorsCryptBlock(ByteReader block, uint64_t data_bytes,
                                    const TensorsLimits& limits, TensorsCryptBlock& result) {
  uint16_t count = 0;
  RETURN_IF_ERROR(block.Read("number of chunks", count));
  for (uint16_t i = 0; i < count; ++i) {
    uint64_t bytes = 0;
    RETURN_IF_ERROR(block.Read("chunk length", bytes));
    const uint64_t offset = block.offset();
    absl::Span<const std::byte> chunk;
    RETURN_IF_ERROR(block.ReadBytes("chunk", bytes, chunk));
    RETURN_IF_ERROR(ReadChunk(ByteReader(chunk, offset, block.path()), data_bytes, limits, result));
  }
  if (block.remaining() != 0) {
    return Invalid(block, absl::StrCat(block.remaining(), " bytes too many"));
  }
  if (data_bytes > 0 && !result.encryption.has_value()) {
    return Invalid(block, "a tensor with data that is not encrypted, in an encrypted file");
  }
  return absl::OkStatus();
}

}  // namespace weightd
