#include "daemon/format/tensors_header.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "daemon/format/byte_reader.h"
#include "daemon/format/invalid.h"
#include "daemon/format/little_endian.h"
#include "daemon/format/tensors_crypt.h"
#include "daemon/format/tensors_fields.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint8_t kCrc32 = 0;
constexpr uint8_t kSha256 = 1;

// Errors of the parts that know no file.
absl::Status AtHeader(const absl::Status& status, const TensorsHeader& header,
                      absl::string_view path) {
  if (status.ok()) return status;
  return InvalidHeader(
      path, absl::StrCat("tensor header at ", header.header_offset, ": ", status.message()));
}

// The value bytes of one hash, and where they stand in the header.
struct HashPlace {
  size_t position = 0;
  size_t bytes = 0;
};

absl::Status ReadHash(ByteReader& reader, StoredHashes& hashes, HashPlace& place) {
  uint8_t type = 0;
  uint8_t bytes = 0;
  absl::Span<const std::byte> value;
  RETURN_IF_ERROR(reader.Read("hash type", type));
  RETURN_IF_ERROR(reader.Read("hash length", bytes));
  place = {.position = reader.position(), .bytes = bytes};
  const uint64_t offset = reader.offset();
  RETURN_IF_ERROR(reader.ReadBytes("hash", bytes, value));
  const auto invalid = [&](const auto&... parts) {
    return InvalidHeader(reader.path(), absl::StrCat("hash at ", offset, ": ", parts...));
  };
  if (type == kCrc32) {
    if (bytes != sizeof(uint32_t)) return invalid("a CRC32 of ", bytes, " bytes, wanted 4");
    if (hashes.crc32.has_value()) return invalid("a second CRC32");
    hashes.crc32 = LoadLittleEndian<uint32_t>(value);
    return absl::OkStatus();
  }
  if (type == kSha256) {
    if (bytes != Sha256().size()) return invalid("a SHA-256 of ", bytes, " bytes, wanted 32");
    if (hashes.sha256.has_value()) return invalid("a second SHA-256");
    std::copy(value.begin(), value.end(), hashes.sha256.emplace().begin());
    return absl::OkStatus();
  }
  return invalid("type ", type, ", wanted 0 (CRC32) or 1 (SHA-256)");
}

absl::Status ReadHashBlock(ByteReader& reader, StoredHashes& hashes,
                           std::vector<HashPlace>& places) {
  uint16_t block_bytes = 0;
  uint8_t count = 0;
  RETURN_IF_ERROR(reader.Read("hash block length", block_bytes));
  const size_t end = reader.position() + block_bytes;
  RETURN_IF_ERROR(reader.Read("number of hashes", count));
  for (uint8_t i = 0; i < count; ++i) {
    RETURN_IF_ERROR(ReadHash(reader, hashes, places.emplace_back()));
  }
  if (reader.position() == end) return absl::OkStatus();
  return InvalidHeader(
      reader.path(),
      absl::StrCat("hash block that ends at ", reader.offset(), " has ", block_bytes,
                   " bytes by its length, wanted ", block_bytes + reader.position() - end));
}

// What the file's hashes cover of a header: the values of hashes zeroed, the crypt block left out.
void SetHashedHeader(absl::Span<const std::byte> header, const std::vector<HashPlace>& places,
                     size_t hash_block_end, size_t rest, StoredHashes& hashes) {
  const char* const bytes = reinterpret_cast<const char*>(header.data());
  std::string& hashed = hashes.header;
  hashed.assign(bytes, hash_block_end);
  for (const HashPlace& place : places)
    hashed.replace(place.position, place.bytes, place.bytes, '\0');
  hashed.append(bytes + rest, header.size() - kLengthBytes - rest);
  // Padding is zeros and may be 4 KiB: counted, not kept.
  const size_t kept = hashed.find_last_not_of('\0') + 1;
  hashes.header_zeros = hashed.size() - kept;
  hashed.resize(kept);
  hashed.shrink_to_fit();
}

// Shape, dtype and length agree; a length of 0 with elements is a meta tensor.
absl::Status CheckBytes(const TensorsHeader& header, absl::string_view path) {
  const std::optional<uint64_t> bytes = TensorBytes(header.dtype.dtype, header.shape);
  const std::string what =
      absl::StrCat("tensor header at ", header.header_offset, ": tensor ", Quoted(header.name.text),
                   ": shape ", ShapeText(header.shape), " of ", DtypeName(header.dtype.dtype));
  if (!bytes.has_value()) return InvalidHeader(path, absl::StrCat(what, " overflows 64 bits"));
  if (header.data_bytes == *bytes || header.data_bytes == 0) return absl::OkStatus();
  return InvalidHeader(
      path, absl::StrCat(what, " has ", *bytes, " bytes, data length is ", header.data_bytes));
}

absl::Status CheckDataLength(const TensorsHeader& header, uint64_t file_bytes,
                             absl::string_view path) {
  const uint64_t left = file_bytes - header.data_offset();  // the header is in the file
  if (header.data_bytes <= left) return absl::OkStatus();
  const uint64_t at = header.data_offset() - kLengthBytes;
  if (header.data_bytes >> 63 != 0) {
    return InvalidHeader(path, absl::StrCat("data length at ", at, " is negative (",
                                            static_cast<int64_t>(header.data_bytes), ")"));
  }
  return InvalidHeader(path, absl::StrCat("data length at ", at, " is ", header.data_bytes,
                                          " bytes, only ", left, " are left in the file"));
}

}  // namespace

absl::StatusOr<uint64_t> ParseTensorsHeaderLength(absl::Span<const std::byte> prefix,
                                                  uint64_t header_offset, uint64_t file_bytes,
                                                  absl::string_view path,
                                                  const TensorsLimits& limits) {
  ByteReader reader(prefix, header_offset, path);
  uint64_t bytes = 0;
  RETURN_IF_ERROR(reader.Read("header length", bytes));
  if (bytes == 0) return bytes;
  if (bytes < kTensorsHeaderBytesMin || bytes > file_bytes - header_offset) {
    return InvalidHeader(
        path, absl::StrCat("header length at ", header_offset, " is ", bytes, ", wanted ",
                           kTensorsHeaderBytesMin, " to the ", file_bytes - header_offset,
                           " bytes that are left in the file"));
  }
  if (bytes > limits.header_bytes_max) {
    return HeaderBeyondLimit(
        path, absl::StrCat("the tensor header at ", header_offset, " has ", bytes,
                           " bytes, at most ", limits.header_bytes_max, " are allowed"));
  }
  return bytes;
}

absl::StatusOr<TensorsHeader> ParseTensorsHeader(absl::Span<const std::byte> header,
                                                 uint64_t header_offset, bool is_encrypted,
                                                 uint64_t file_bytes, absl::string_view path,
                                                 const TensorsLimits& limits) {
  ASSIGN_OR_RETURN(const uint64_t header_bytes,
                   ParseTensorsHeaderLength(header, header_offset, file_bytes, path, limits));
  if (header_bytes != header.size()) {
    return InvalidHeader(
        path, absl::StrCat("header length at ", header_offset, " is ", header_bytes, ", wanted ",
                           header.size(), " as the index has it"));
  }
  TensorsHeader result;
  result.header_offset = header_offset;
  result.header_bytes = header_bytes;
  ByteReader length(header.last(kLengthBytes), header_offset + header_bytes - kLengthBytes, path);
  RETURN_IF_ERROR(length.Read("data length", result.data_bytes));
  RETURN_IF_ERROR(CheckDataLength(result, file_bytes, path));

  ByteReader reader(header.first(header.size() - kLengthBytes), header_offset, path);
  uint64_t ignored = 0;
  RETURN_IF_ERROR(reader.Read("header length", ignored));
  RETURN_IF_ERROR(reader.Read("module index", result.stored.module_index));
  RETURN_IF_ERROR(ReadTensorsKind(reader, result.stored.kind));
  RETURN_IF_ERROR(ReadTensorsName(reader, result.raw_name));
  RETURN_IF_ERROR(ReadTensorsDtype(reader, result.raw_dtype));
  RETURN_IF_ERROR(ReadTensorsShape(reader, limits, result.shape));
  std::vector<HashPlace> places;
  RETURN_IF_ERROR(ReadHashBlock(reader, result.stored.hashes, places));
  const size_t hash_block_end = reader.position();
  if (is_encrypted) {
    uint64_t block_bytes = 0;
    absl::Span<const std::byte> block;
    RETURN_IF_ERROR(reader.Read("crypt block length", block_bytes));
    const uint64_t block_offset = reader.offset();
    RETURN_IF_ERROR(reader.ReadBytes("crypt block", block_bytes, block));
    TensorsCryptBlock crypt;
    RETURN_IF_ERROR(ParseTensorsCryptBlock(ByteReader(block, block_offset, path), result.data_bytes,
                                           limits, crypt));
    result.stored.encryption = std::move(crypt.encryption);
    result.key_derivation = crypt.key_derivation;
  }
  SetHashedHeader(header, places, hash_block_end, reader.position(), result.stored.hashes);

  auto name = ParseTensorsName(result.raw_name);
  RETURN_IF_ERROR(AtHeader(name.status(), result, path));
  result.name = *std::move(name);
  if (result.name.is_path && result.stored.kind != TensorKind::kStateDictEntry) {
    return AtHeader(absl::InvalidArgumentError("a path names a parameter or buffer"), result, path);
  }
  auto dtype = ParseTensorsDtype(result.raw_dtype);
  RETURN_IF_ERROR(AtHeader(dtype.status(), result, path));
  result.dtype = *std::move(dtype);
  result.stored.torch_dtype = result.dtype.torch_name;
  RETURN_IF_ERROR(CheckBytes(result, path));
  return result;
}

}  // namespace weightd
