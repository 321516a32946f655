#include "daemon/format/tensors_file.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "daemon/format/byte_reader.h"
#include "daemon/format/invalid.h"
#include "daemon/format/tensors_fields.h"
#include "daemon/format/tensors_header.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr uint64_t kIndexBytesCeiling = uint64_t{4} << 30;
constexpr uint64_t kHeaderBytesCeiling = uint64_t{256} << 20;
constexpr uint64_t kTensorsCeiling = 16'000'000;
constexpr uint64_t kRankCeiling = 64;
constexpr uint64_t kMetaBytesCeiling = uint64_t{1} << 40;
constexpr uint64_t kOperationsCeiling = 1024;
constexpr uint64_t kDerivationMemoryCeiling = uint64_t{16} << 30;

constexpr size_t kMagicBytes = 5;
constexpr size_t kFlagBytes = 32;
constexpr uint32_t kVersionMax = 4;
constexpr uint32_t kVersionEncrypted = 3;
// With a name of one byte, a dtype of three, no dimension.
constexpr uint64_t kIndexEntryBytesMin = 2 + 1 + 1 + 1 + 3 + 1 + 3 * 8;

absl::Status ReadFlags(ByteReader& reader, bool& is_encrypted_bit) {
  const uint64_t offset = reader.offset();
  absl::Span<const std::byte> flags;
  RETURN_IF_ERROR(reader.ReadBytes("feature flags", kFlagBytes, flags));
  is_encrypted_bit = (flags[0] & std::byte{1}) != std::byte{0};
  const auto unknown = [&](size_t i) {
    return i == 0 ? (flags[0] & ~std::byte{1}) != std::byte{0} : flags[i] != std::byte{0};
  };
  for (size_t i = 0; i < flags.size(); ++i) {
    if (!unknown(i)) continue;
    return InvalidHeader(reader.path(),
                         absl::StrCat("feature flags at ", offset + i,
                                      " have an unknown bit; only bit 0 (encrypted) is known"));
  }
  return absl::OkStatus();
}

absl::Status CheckIndexLength(const TensorsFileHeader& header, uint64_t file_bytes,
                              absl::string_view path, const TensorsLimits& limits) {
  const uint64_t left = file_bytes - kTensorsFileHeaderBytes;
  if (header.index_bytes > left) {
    return InvalidHeader(path, absl::StrCat("index length at 65 is ", header.index_bytes,
                                            " bytes, only ", left, " are left in the file"));
  }
  if (header.index_bytes > limits.index_bytes_max) {
    return HeaderBeyondLimit(path,
                             absl::StrCat("its index has ", header.index_bytes, " bytes, at most ",
                                          limits.index_bytes_max, " are allowed"));
  }
  if (!header.has_index()) return absl::OkStatus();
  if (header.tensor_count > header.index_bytes / kIndexEntryBytesMin) {
    return InvalidHeader(path,
                         absl::StrCat("number of tensors at 57 is ", header.tensor_count,
                                      ", too many for an index of ", header.index_bytes, " bytes"));
  }
  if (header.tensor_count > limits.tensors_max) {
    return HeaderBeyondLimit(
        path, absl::StrCat("it has ", header.tensor_count, " tensors, at most ", limits.tensors_max,
                           " are allowed"));
  }
  return absl::OkStatus();
}

absl::Status ReadEntry(ByteReader& reader, const TensorsLimits& limits, TensorsIndexEntry& entry) {
  RETURN_IF_ERROR(ReadTensorsName(reader, entry.raw_name));
  RETURN_IF_ERROR(ReadTensorsKind(reader, entry.kind));
  RETURN_IF_ERROR(ReadTensorsDtype(reader, entry.raw_dtype));
  RETURN_IF_ERROR(ReadTensorsShape(reader, limits, entry.shape));
  RETURN_IF_ERROR(reader.Read("header offset", entry.header_offset));
  RETURN_IF_ERROR(reader.Read("data offset", entry.data_offset));
  return reader.Read("data length", entry.data_bytes);
}

// The entry's ranges lie in the file, behind `previous_end`.
absl::Status CheckRanges(const TensorsIndexEntry& entry, uint64_t previous_end, uint64_t file_bytes,
                         absl::string_view path, const TensorsLimits& limits) {
  const auto invalid = [&](const auto&... parts) {
    return InvalidHeader(path,
                         absl::StrCat("index: tensor ", Quoted(entry.raw_name), ": ", parts...));
  };
  if (entry.header_offset < previous_end) {
    return invalid("header offset is ", entry.header_offset,
                   ", inside of what is before it, which ends at ", previous_end);
  }
  if (entry.data_offset > file_bytes || entry.header_offset > entry.data_offset ||
      entry.header_bytes() < kTensorsHeaderBytesMin) {
    return invalid("header from ", entry.header_offset, " to ", entry.data_offset,
                   ", wanted at least ", kTensorsHeaderBytesMin, " bytes in a file of ",
                   file_bytes);
  }
  if (entry.data_bytes > file_bytes - entry.data_offset) {
    return invalid("data length is ", entry.data_bytes, " bytes from ", entry.data_offset,
                   ", the file ends at ", file_bytes, ": it is cut off, or the length is wrong");
  }
  if (entry.header_bytes() > limits.header_bytes_max) {
    return HeaderBeyondLimit(path, absl::StrCat("the header of tensor ", Quoted(entry.raw_name),
                                                " has ", entry.header_bytes(), " bytes, at most ",
                                                limits.header_bytes_max, " are allowed"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status TensorsLimits::Validate() const {
  RETURN_IF_ERROR(CheckLimit("index_bytes_max", index_bytes_max, kIndexBytesCeiling));
  RETURN_IF_ERROR(CheckLimit("header_bytes_max", header_bytes_max, kHeaderBytesCeiling));
  RETURN_IF_ERROR(CheckLimit("tensors_max", tensors_max, kTensorsCeiling));
  RETURN_IF_ERROR(CheckLimit("rank_max", rank_max, kRankCeiling));
  RETURN_IF_ERROR(CheckLimit("meta_bytes_max", meta_bytes_max, kMetaBytesCeiling));
  RETURN_IF_ERROR(
      CheckLimit("derivation_operations_max", derivation_operations_max, kOperationsCeiling));
  return CheckLimit("derivation_memory_bytes_max", derivation_memory_bytes_max,
                    kDerivationMemoryCeiling);
}

absl::StatusOr<TensorsFileHeader> ParseTensorsFileHeader(absl::Span<const std::byte> prefix,
                                                         uint64_t file_bytes,
                                                         absl::string_view path,
                                                         const TensorsLimits& limits) {
  ByteReader reader(
      prefix.first(std::min<uint64_t>({prefix.size(), file_bytes, kTensorsFileHeaderBytes})), 0,
      path);
  absl::string_view magic;
  if (reader.remaining() >= kMagicBytes)
    RETURN_IF_ERROR(reader.ReadText("magic", kMagicBytes, magic));
  if (magic != kTensorsMagic) {
    return InvalidHeader(path, absl::StrCat("begins with ", Quoted(magic), ", wanted ",
                                            Quoted(kTensorsMagic), ": not a .tensors file"));
  }
  TensorsFileHeader header;
  RETURN_IF_ERROR(reader.Read("version", header.version));
  if (header.version < 1 || header.version > kVersionMax) {
    return InvalidHeader(
        path, absl::StrCat("version at 5 is ", header.version, ", wanted 1 to ", kVersionMax));
  }
  bool is_encrypted_bit = false;
  RETURN_IF_ERROR(ReadFlags(reader, is_encrypted_bit));
  // As the reference reader has it: below version 4 the bit says nothing.
  header.is_encrypted = header.version == kVersionEncrypted ||
                        (header.version > kVersionEncrypted && is_encrypted_bit);
  uint64_t unused = 0;
  RETURN_IF_ERROR(reader.Read("total tensor bytes", unused));
  RETURN_IF_ERROR(reader.Read("unused field", unused));
  RETURN_IF_ERROR(reader.Read("number of tensors", header.tensor_count));
  RETURN_IF_ERROR(reader.Read("index length", header.index_bytes));
  RETURN_IF_ERROR(CheckIndexLength(header, file_bytes, path, limits));
  return header;
}

absl::StatusOr<std::vector<TensorsIndexEntry>> ParseTensorsIndex(absl::Span<const std::byte> index,
                                                                 const TensorsFileHeader& header,
                                                                 uint64_t file_bytes,
                                                                 absl::string_view path,
                                                                 const TensorsLimits& limits) {
  ByteReader reader(index, kTensorsFileHeaderBytes, path);
  std::vector<TensorsIndexEntry> entries;
  entries.reserve(header.tensor_count);  // CheckIndexLength: no more than the index has room for
  uint64_t previous_end = header.first_header_offset();
  for (uint64_t i = 0; i < header.tensor_count; ++i) {
    TensorsIndexEntry& entry = entries.emplace_back();
    RETURN_IF_ERROR(ReadEntry(reader, limits, entry));
    RETURN_IF_ERROR(CheckRanges(entry, previous_end, file_bytes, path, limits));
    previous_end = entry.data_offset + entry.data_bytes;
  }
  return entries;
}

}  // namespace weightd
