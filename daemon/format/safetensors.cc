#include "daemon/format/safetensors.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/dtype.h"
#include "common/status_macros.h"
#include "daemon/format/invalid.h"
#include "daemon/format/json_reader.h"
#include "daemon/format/little_endian.h"
#include "daemon/format/safetensors_handler.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

using Range = SafetensorsHandler::Range;

constexpr uint64_t kTensorsCeiling = 16'000'000;
constexpr uint32_t kNameBytesCeiling = 65'535;
constexpr uint32_t kRankCeiling = 64;

// An entry with a name of a few letters; real ones are longer. Decides what is reserved.
constexpr size_t kEntryBytesGuess = 80;

// Why TensorBytes refuses a tensor: rule 6b or 6c.
std::string SizeProblem(const TensorEntry& tensor) {
  const std::string what =
      absl::StrCat("shape ", ShapeText(tensor.shape), " of ", DtypeName(tensor.dtype));
  uint64_t bits = DtypeBits(tensor.dtype);
  uint64_t elements = 1;
  for (const uint64_t dimension : tensor.shape) {
    if (__builtin_mul_overflow(elements, dimension, &elements)) {
      return absl::StrCat(what, " overflows 64 bits");
    }
  }
  if (__builtin_mul_overflow(elements, bits, &bits)) {
    return absl::StrCat(what, " overflows 64 bits");
  }
  return absl::StrCat(what, " has ", bits, " bits, wanted whole bytes");
}

// Rules 6a to 6d for one tensor, whose range must begin at `previous_end`.
absl::Status CheckTensor(const TensorEntry& tensor, const Range& range, uint64_t previous_end,
                         absl::string_view path) {
  const auto invalid = [&](const auto&... parts) {
    return InvalidHeader(path, absl::StrCat("tensor ", Quoted(tensor.name), ": ", parts...));
  };
  if (range.begin != previous_end || range.end < range.begin) {
    const absl::string_view rule = range.begin > previous_end   ? "leaves a hole"
                                   : range.begin < previous_end ? "overlaps another tensor"
                                                                : "ends before it begins";
    return invalid("data_offsets [", range.begin, ",", range.end, "] ", rule,
                   ", wanted a range from ", previous_end);
  }
  const std::optional<uint64_t> bytes = TensorBytes(tensor.dtype, tensor.shape);
  if (!bytes.has_value()) return invalid(SizeProblem(tensor));
  if (range.end - range.begin != *bytes) {
    return invalid("data_offsets [", range.begin, ",", range.end, "] are ", range.end - range.begin,
                   " bytes, wanted ", *bytes, " for shape ", ShapeText(tensor.shape), " of ",
                   DtypeName(tensor.dtype));
  }
  return absl::OkStatus();
}

// Indices of `ranges` in the order of the format's validation: by begin, then by end.
std::vector<uint32_t> ValidationOrder(const std::vector<Range>& ranges) {
  std::vector<uint32_t> order(ranges.size());
  std::iota(order.begin(), order.end(), 0);
  const auto before = [&](uint32_t a, uint32_t b) {
    return std::pair(ranges[a].begin, ranges[a].end) < std::pair(ranges[b].begin, ranges[b].end);
  };
  // Most writers list tensors in the order of their data.
  if (!std::is_sorted(order.begin(), order.end(), before)) {
    std::stable_sort(order.begin(), order.end(), before);
  }
  return order;
}

// Names are compared decoded, so that another spelling of a name is the same name.
absl::Status CheckNamesUnique(const std::vector<TensorEntry>& tensors, absl::string_view path) {
  absl::flat_hash_set<absl::string_view> names;
  names.reserve(tensors.size());
  for (const TensorEntry& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      return InvalidHeader(path, absl::StrCat("tensor ", Quoted(tensor.name), " occurs twice"));
    }
  }
  return absl::OkStatus();
}

// Moves the tensors into the manifest's order: by offset, then by name. In validation order only
// empty tensors stand beside another of the same offset.
std::vector<TensorEntry> Arrange(std::vector<TensorEntry> tensors,
                                 const std::vector<uint32_t>& order) {
  if (!std::is_sorted(order.begin(), order.end())) {
    std::vector<TensorEntry> arranged;
    arranged.reserve(tensors.size());
    for (const uint32_t index : order) arranged.push_back(std::move(tensors[index]));
    tensors = std::move(arranged);
  }
  const auto by_name = [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; };
  for (auto first = tensors.begin(); first != tensors.end();) {
    const auto last = std::find_if(first, tensors.end(), [&](const TensorEntry& tensor) {
      return tensor.offset != first->offset;
    });
    if (last - first > 1) std::sort(first, last, by_name);
    first = last;
  }
  return tensors;
}

}  // namespace

absl::Status SafetensorsLimits::Validate() const {
  RETURN_IF_ERROR(CheckLimit("header_bytes_max", header_bytes_max, kSafetensorsHeaderBytesMax));
  RETURN_IF_ERROR(CheckLimit("tensors_max", tensors_max, kTensorsCeiling));
  RETURN_IF_ERROR(CheckLimit("name_bytes_max", name_bytes_max, kNameBytesCeiling));
  return CheckLimit("rank_max", rank_max, kRankCeiling);
}

absl::StatusOr<uint64_t> ParseSafetensorsPrefix(absl::Span<const std::byte> prefix,
                                                uint64_t file_bytes, absl::string_view path,
                                                const SafetensorsLimits& limits) {
  if (file_bytes < kSafetensorsPrefixBytes || prefix.size() < kSafetensorsPrefixBytes) {
    return InvalidHeader(path,
                         absl::StrCat("file has ", std::min<uint64_t>(file_bytes, prefix.size()),
                                      " bytes, wanted at least ", kSafetensorsPrefixBytes));
  }
  const auto header_bytes = LoadLittleEndian<uint64_t>(prefix);
  if (header_bytes > kSafetensorsHeaderBytesMax) {
    return InvalidHeader(path, absl::StrCat("header length is ", header_bytes,
                                            " bytes, wanted at most ", kSafetensorsHeaderBytesMax));
  }
  if (header_bytes > file_bytes - kSafetensorsPrefixBytes) {
    return InvalidHeader(
        path, absl::StrCat("header length is ", header_bytes, " bytes, only ",
                           file_bytes - kSafetensorsPrefixBytes, " are left in the file"));
  }
  if (header_bytes > limits.header_bytes_max) {
    return HeaderBeyondLimit(path, absl::StrCat("it has ", header_bytes, " bytes, at most ",
                                                limits.header_bytes_max, " are allowed"));
  }
  return header_bytes;
}

absl::StatusOr<ShardHeader> ParseSafetensorsHeader(std::string header, uint64_t file_bytes,
                                                   absl::string_view path,
                                                   const SafetensorsLimits& limits) {
  const uint64_t data_offset = kSafetensorsPrefixBytes + header.size();
  if (file_bytes < data_offset) {
    return InvalidHeader(
        path, absl::StrCat("file has ", file_bytes, " bytes, its header ends at ", data_offset));
  }
  SafetensorsHandler parsed(
      limits, std::min<uint64_t>(header.size() / kEntryBytesGuess, limits.tensors_max));
  const std::string what = absl::StrCat("header of ", path);
  JsonSource source = {
      .text = std::move(header), .what = what, .file_offset = kSafetensorsPrefixBytes};
  RETURN_IF_ERROR(WithFile(ReadJson(std::move(source), parsed), path));
  RETURN_IF_ERROR(CheckNamesUnique(parsed.tensors, path));

  const std::vector<uint32_t> order = ValidationOrder(parsed.ranges);
  uint64_t previous_end = 0;
  for (const uint32_t index : order) {
    const Range& range = parsed.ranges[index];
    TensorEntry& tensor = parsed.tensors[index];
    RETURN_IF_ERROR(CheckTensor(tensor, range, previous_end, path));
    tensor.offset = range.begin;
    tensor.bytes = range.end - range.begin;
    previous_end = range.end;
  }
  const uint64_t data_bytes = file_bytes - data_offset;
  if (previous_end != data_bytes) {
    return InvalidHeader(
        path, absl::StrCat("the last tensor ends at ", previous_end, " of the data, which has ",
                           data_bytes, " bytes: the file is ",
                           previous_end > data_bytes ? "cut off" : "too long"));
  }
  ShardHeader result;
  result.shard.path = std::string(path);
  result.shard.file_bytes = file_bytes;
  result.shard.data_offset = data_offset;
  result.shard.data_bytes = data_bytes;
  result.tensors = Arrange(std::move(parsed.tensors), order);
  result.metadata = std::move(parsed.metadata);
  return result;
}

}  // namespace weightd
