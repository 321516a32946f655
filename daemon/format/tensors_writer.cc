#include "daemon/format/tensors_writer.h"

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/format/little_endian.h"
#include "daemon/format/tensors_dtype.h"
#include "daemon/format/tensors_file.h"
#include "daemon/format/tensors_name.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr uint32_t kVersionPlain = 1;
constexpr uint32_t kVersionOpaque = 2;
constexpr size_t kNameBytesMax = 65'535;
constexpr size_t kRankMax = 255;
constexpr size_t kFlagAndTotalBytes = 32;

uint8_t KindValue(TensorKind kind) {
  switch (kind) {
    case TensorKind::kParameter:
      return 0;
    case TensorKind::kBuffer:
      return 1;
    case TensorKind::kStateDictEntry:
    case TensorKind::kUnknown:
      break;
  }
  return 2;
}

std::string DtypeText(const TensorToWrite& tensor) {
  return *FormatTensorsDtype(tensor.dtype, tensor.torch_dtype);  // CheckTensor
}

void PutName(const TensorToWrite& tensor, std::string& to) {
  const std::string name = FormatTensorsName(tensor.name);
  AppendLittleEndian(static_cast<uint16_t>(name.size()), to);
  to += name;
}

void PutDtypeAndShape(const TensorToWrite& tensor, std::string& to) {
  const std::string dtype = DtypeText(tensor);
  AppendLittleEndian(static_cast<uint8_t>(dtype.size()), to);
  to += dtype;
  AppendLittleEndian(static_cast<uint8_t>(tensor.shape.size()), to);
  for (const uint64_t dimension : tensor.shape)
    AppendLittleEndian(static_cast<uint32_t>(dimension), to);
}

void PutHashes(const StoredHashes& hashes, std::string& to) {
  const Sha256 sha256 = hashes.sha256.value_or(Sha256{});
  AppendLittleEndian(static_cast<uint16_t>(1 + 2 + sizeof(uint32_t) + 2 + sha256.size()), to);
  AppendLittleEndian(uint8_t{2}, to);
  AppendLittleEndian(uint8_t{0}, to);
  AppendLittleEndian(static_cast<uint8_t>(sizeof(uint32_t)), to);
  AppendLittleEndian(hashes.crc32.value_or(0), to);
  AppendLittleEndian(uint8_t{1}, to);
  AppendLittleEndian(static_cast<uint8_t>(sha256.size()), to);
  to.append(reinterpret_cast<const char*>(sha256.data()), sha256.size());
}

// Everything of a header but its length fields and padding.
std::string HeaderBody(const TensorToWrite& tensor, const StoredHashes& hashes) {
  std::string body;
  AppendLittleEndian(tensor.module_index, body);
  AppendLittleEndian(KindValue(tensor.kind), body);
  PutName(tensor, body);
  PutDtypeAndShape(tensor, body);
  PutHashes(hashes, body);
  return body;
}

absl::StatusOr<uint64_t> CheckTensor(const TensorToWrite& tensor) {
  const auto invalid = [&](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(tensor.name), ": ", parts...));
  };
  RETURN_IF_ERROR(Annotate(FormatTensorsDtype(tensor.dtype, tensor.torch_dtype).status(),
                           absl::StrCat("tensor ", Quoted(tensor.name))));
  const size_t name_bytes = FormatTensorsName(tensor.name).size();
  if (name_bytes == 0 || name_bytes > kNameBytesMax) {
    return invalid("a name of ", name_bytes, " bytes, .tensors files have 1 to ", kNameBytesMax);
  }
  if (tensor.shape.size() > kRankMax) {
    return invalid(tensor.shape.size(), " dimensions, .tensors files have at most ", kRankMax);
  }
  for (const uint64_t dimension : tensor.shape) {
    if (dimension > kTensorsDimensionMax) {
      return invalid("a dimension of ", dimension, ", .tensors files have at most ",
                     kTensorsDimensionMax);
    }
  }
  const std::optional<uint64_t> bytes = TensorBytes(tensor.dtype, tensor.shape);
  if (!bytes.has_value()) return invalid("its size overflows 64 bits");
  return *bytes;
}

std::string IndexText(absl::Span<const TensorToWrite> tensors,
                      const std::vector<TensorPlace>& places) {
  std::string index;
  for (size_t i = 0; i < tensors.size(); ++i) {
    PutName(tensors[i], index);
    AppendLittleEndian(KindValue(tensors[i].kind), index);
    PutDtypeAndShape(tensors[i], index);
    AppendLittleEndian(places[i].header_offset, index);
    AppendLittleEndian(places[i].data_offset(), index);
    AppendLittleEndian(places[i].data_bytes, index);
  }
  return index;
}

bool IsOpaque(const TensorToWrite& tensor) {
  return DtypeText(tensor).find('\0') != std::string::npos;
}

std::string FileHeaderText(absl::Span<const TensorToWrite> tensors,
                           const std::vector<TensorPlace>& places, uint64_t index_bytes) {
  uint64_t total = 0;
  for (const TensorPlace& place : places) total += place.data_bytes;
  std::string header(kTensorsMagic);
  AppendLittleEndian(
      std::any_of(tensors.begin(), tensors.end(), IsOpaque) ? kVersionOpaque : kVersionPlain,
      header);
  header.append(kFlagAndTotalBytes, '\0');
  AppendLittleEndian(total, header);
  AppendLittleEndian(uint64_t{0}, header);
  AppendLittleEndian(uint64_t{tensors.size()}, header);
  AppendLittleEndian(index_bytes, header);
  return header;
}

}  // namespace

absl::StatusOr<TensorsPlan> PlanTensorsFile(absl::Span<const TensorToWrite> tensors,
                                            uint64_t alignment) {
  if (tensors.empty()) return absl::InvalidArgumentError("a .tensors file needs a tensor");
  if (alignment == 0 || (alignment & (alignment - 1)) != 0 ||
      alignment > kTensorsDataAlignmentMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "alignment is ", alignment, ", wanted a power of two up to ", kTensorsDataAlignmentMax));
  }
  TensorsPlan plan;
  plan.places.resize(tensors.size());
  absl::flat_hash_set<absl::string_view> names;
  for (size_t i = 0; i < tensors.size(); ++i) {
    ASSIGN_OR_RETURN(plan.places[i].data_bytes, CheckTensor(tensors[i]));
    if (names.insert(tensors[i].name).second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", Quoted(tensors[i].name), " occurs twice"));
  }
  const uint64_t index_bytes =
      std::max<uint64_t>(IndexText(tensors, plan.places).size(), kTensorsIndexBytesMin);
  uint64_t end = kTensorsFileHeaderBytes + index_bytes;
  for (size_t i = 0; i < tensors.size(); ++i) {
    TensorPlace& place = plan.places[i];
    place.header_offset = end;
    const uint64_t bytes = 8 + HeaderBody(tensors[i], {}).size() + 8;
    place.header_bytes = AlignUp(end + bytes, alignment) - end;
    if (__builtin_add_overflow(place.data_offset(), place.data_bytes, &end) || end >> 62 != 0) {
      return absl::InvalidArgumentError("the tensors' sizes add up to more than 2^62 bytes");
    }
  }
  plan.terminator_offset = end;
  plan.beginning = FileHeaderText(tensors, plan.places, index_bytes);
  plan.beginning += IndexText(tensors, plan.places);
  plan.beginning.resize(kTensorsFileHeaderBytes + index_bytes, '\0');
  return plan;
}

std::string TensorHeaderText(const TensorToWrite& tensor, const TensorPlace& place,
                             const StoredHashes& hashes) {
  std::string header;
  AppendLittleEndian(place.header_bytes, header);
  header += HeaderBody(tensor, hashes);
  header.resize(place.header_bytes - sizeof(uint64_t), '\0');
  AppendLittleEndian(place.data_bytes, header);
  return header;
}

}  // namespace weightd
