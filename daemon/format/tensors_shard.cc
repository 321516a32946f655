#include "daemon/format/tensors_shard.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "daemon/format/invalid.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr uint64_t kTerminatorBytes = 8;

absl::Status CheckAgainstIndex(const TensorsIndexEntry& entry, const TensorsHeader& header,
                               absl::string_view path) {
  const auto differs = [&](absl::string_view what, const auto& in_header, const auto& in_index) {
    return InvalidHeader(path, absl::StrCat("tensor header at ", header.header_offset, ": ", what,
                                            " is ", in_header, ", the index has ", in_index));
  };
  if (entry.raw_name != header.raw_name) {
    return differs("the name", Quoted(header.raw_name), Quoted(entry.raw_name));
  }
  if (entry.kind != header.stored.kind) {
    return differs("the tensor type", static_cast<int>(header.stored.kind),
                   static_cast<int>(entry.kind));
  }
  if (entry.raw_dtype != header.raw_dtype) {
    return differs("the dtype", Quoted(header.raw_dtype), Quoted(entry.raw_dtype));
  }
  if (entry.shape != header.shape) {
    return differs("the shape", ShapeText(header.shape), ShapeText(entry.shape));
  }
  if (entry.data_bytes != header.data_bytes) {
    return differs("the data length", header.data_bytes, entry.data_bytes);
  }
  return absl::OkStatus();
}

// All tensors that have one have the same: a file has one key.
absl::Status TakeKeyDerivation(const TensorsHeader& header, ShardEntry& shard) {
  if (!header.key_derivation.has_value()) return absl::OkStatus();
  if (!shard.key_derivation.has_value()) shard.key_derivation = header.key_derivation;
  if (shard.key_derivation == header.key_derivation) return absl::OkStatus();
  return InvalidHeader(shard.path, absl::StrCat("tensor header at ", header.header_offset,
                                                ": another key derivation than that of the "
                                                "tensors before it"));
}

struct TensorsSource {
  const TensorsFileHeader& file;
  uint64_t file_bytes;
  absl::string_view path;
  const TensorsLimits& limits;
};

absl::Status ReadHeader(const TensorsSource& source, ReadAt read_at, uint64_t offset,
                        uint64_t bytes, TensorsHeader& header) {
  std::vector<std::byte> text(bytes);
  RETURN_IF_ERROR(read_at(offset, absl::MakeSpan(text)));
  ASSIGN_OR_RETURN(header, ParseTensorsHeader(text, offset, source.file.is_encrypted,
                                              source.file_bytes, source.path, source.limits));
  return absl::OkStatus();
}

// A file whose writer was cut short has no index either: it lacks the terminator at its end.
absl::StatusOr<std::vector<TensorsHeader>> ScanHeaders(const TensorsSource& source,
                                                       ReadAt read_at) {
  const auto unfinished = [&](const auto&... parts) {
    return InvalidHeader(source.path, absl::StrCat("it has no index, and ", parts...,
                                                   ": it is cut off, or was never finished"));
  };
  std::vector<TensorsHeader> headers;
  uint64_t offset = source.file.first_header_offset();
  while (true) {
    if (source.file_bytes - offset < kTerminatorBytes) {  // all so far lies in the file
      return unfinished("ends at ", source.file_bytes, ", wanted a header or the terminator at ",
                        offset);
    }
    std::array<std::byte, kTerminatorBytes> prefix;
    RETURN_IF_ERROR(read_at(offset, absl::MakeSpan(prefix)));
    ASSIGN_OR_RETURN(
        const uint64_t bytes,
        ParseTensorsHeaderLength(prefix, offset, source.file_bytes, source.path, source.limits));
    if (bytes == 0) break;
    if (headers.size() >= source.limits.tensors_max) {
      return HeaderBeyondLimit(source.path,
                               absl::StrCat("it has more than the ", source.limits.tensors_max,
                                            " tensors that are allowed"));
    }
    TensorsHeader& header = headers.emplace_back();
    RETURN_IF_ERROR(ReadHeader(source, read_at, offset, bytes, header));
    offset = header.data_offset() + header.data_bytes;  // further on, and in the file
  }
  if (offset + kTerminatorBytes == source.file_bytes) return headers;
  return unfinished("the terminator at ", offset, " is not its end, which is ", source.file_bytes);
}

}  // namespace

absl::StatusOr<ShardHeader> AssembleTensorsShard(const TensorsFileHeader& file,
                                                 absl::Span<const TensorsIndexEntry> index,
                                                 std::vector<TensorsHeader> headers,
                                                 uint64_t file_bytes, absl::string_view path,
                                                 const TensorsLimits& limits) {
  ShardHeader result;
  ShardEntry& shard = result.shard;
  shard.path = std::string(path);
  shard.file_bytes = file_bytes;
  shard.format = FileFormat::kTensors;
  shard.is_encrypted = file.is_encrypted;
  if (headers.empty()) return InvalidHeader(path, "it has no tensors");
  shard.data_offset = headers.front().data_offset();
  shard.data_bytes = headers.back().data_offset() + headers.back().data_bytes - shard.data_offset;

  TensorsNameSet names;
  uint64_t meta_bytes = 0;
  result.tensors.reserve(headers.size());
  result.stored.reserve(headers.size());
  for (size_t i = 0; i < headers.size(); ++i) {
    TensorsHeader& header = headers[i];
    if (!index.empty()) RETURN_IF_ERROR(CheckAgainstIndex(index[i], header, path));
    if (absl::Status status = names.Add(header.name); !status.ok()) {
      return InvalidHeader(path, status.message());
    }
    RETURN_IF_ERROR(TakeKeyDerivation(header, shard));
    const uint64_t bytes = *TensorBytes(header.dtype.dtype, header.shape);
    const bool is_meta = header.data_bytes == 0 && bytes > 0;
    // `meta_bytes` never passes the limit, so the sum wraps only where `bytes` is above it too.
    if (is_meta &&
        (bytes > limits.meta_bytes_max || (meta_bytes += bytes) > limits.meta_bytes_max)) {
      return HeaderBeyondLimit(
          path, absl::StrCat("tensors without data declare more than the ", limits.meta_bytes_max,
                             " bytes of zeros that are allowed, at ", Quoted(header.name.text),
                             " of ", bytes, " bytes"));
    }
    result.tensors.push_back({.name = std::move(header.name.text),
                              .dtype = header.dtype.dtype,
                              .shape = std::move(header.shape),
                              .shard_index = 0,
                              .offset = header.data_offset() - shard.data_offset,
                              .bytes = bytes,
                              .is_meta = is_meta});
    result.stored.push_back(std::move(header.stored));
  }
  return result;
}

absl::StatusOr<ShardHeader> ReadTensorsShard(ReadAt read_at, ForEach for_each, uint64_t file_bytes,
                                             absl::string_view path, const TensorsLimits& limits) {
  std::vector<std::byte> beginning(std::min(kTensorsFileHeaderBytes, file_bytes));
  RETURN_IF_ERROR(read_at(0, absl::MakeSpan(beginning)));
  ASSIGN_OR_RETURN(const TensorsFileHeader file,
                   ParseTensorsFileHeader(beginning, file_bytes, path, limits));
  const TensorsSource source = {file, file_bytes, path, limits};
  if (!file.has_index()) {
    ASSIGN_OR_RETURN(std::vector<TensorsHeader> headers, ScanHeaders(source, read_at));
    return AssembleTensorsShard(file, {}, std::move(headers), file_bytes, path, limits);
  }
  std::vector<std::byte> text(file.index_bytes);  // no more than the file has
  RETURN_IF_ERROR(read_at(kTensorsFileHeaderBytes, absl::MakeSpan(text)));
  ASSIGN_OR_RETURN(const std::vector<TensorsIndexEntry> index,
                   ParseTensorsIndex(text, file, file_bytes, path, limits));
  std::vector<TensorsHeader> headers(index.size());
  RETURN_IF_ERROR(for_each(index.size(), [&](size_t i) {
    return ReadHeader(source, read_at, index[i].header_offset, index[i].header_bytes(), headers[i]);
  }));
  return AssembleTensorsShard(file, index, std::move(headers), file_bytes, path, limits);
}

}  // namespace weightd
