#include "daemon/format/tensors_dtype.h"

#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/printable_text.h"
#include "common/status_macros.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

struct NumpyRow {
  absl::string_view text;  // kind and size, without the byte order
  Dtype dtype;
  absl::string_view torch_name;
};

// Types that numpy has. Files may also give them opaque, by their torch name.
constexpr std::array<NumpyRow, 14> kNumpyRows = {{
    {"b1", Dtype::kBool, "torch.bool"},
    {"u1", Dtype::kU8, "torch.uint8"},
    {"i1", Dtype::kI8, "torch.int8"},
    {"i2", Dtype::kI16, "torch.int16"},
    {"i4", Dtype::kI32, "torch.int32"},
    {"i8", Dtype::kI64, "torch.int64"},
    {"u2", Dtype::kU16, "torch.uint16"},
    {"u4", Dtype::kU32, "torch.uint32"},
    {"u8", Dtype::kU64, "torch.uint64"},
    {"f2", Dtype::kF16, "torch.float16"},
    {"f4", Dtype::kF32, "torch.float32"},
    {"f8", Dtype::kF64, "torch.float64"},
    {"c8", Dtype::kC64, "torch.complex64"},
    {"c16", Dtype::kC128, "torch.complex128"},
}};

struct TorchRow {
  absl::string_view torch_name;
  Dtype dtype;
};

// Types that only torch has.
constexpr std::array<TorchRow, 7> kTorchRows = {{
    {"torch.bfloat16", Dtype::kBf16},
    {"torch.complex32", Dtype::kC32},
    {"torch.float8_e4m3fn", Dtype::kF8E4M3},
    {"torch.float8_e5m2", Dtype::kF8E5M2},
    {"torch.float8_e4m3fnuz", Dtype::kF8E4M3Fnuz},
    {"torch.float8_e5m2fnuz", Dtype::kF8E5M2Fnuz},
    {"torch.float8_e8m0fnu", Dtype::kF8E8M0},
}};

constexpr absl::string_view kTorchPrefix = "torch.";

std::optional<Dtype> KnownTorchType(absl::string_view name) {
  for (const TorchRow& row : kTorchRows) {
    if (row.torch_name == name) return row.dtype;
  }
  for (const NumpyRow& row : kNumpyRows) {
    if (row.torch_name == name) return row.dtype;
  }
  return std::nullopt;
}

std::optional<Dtype> OpaqueOfBytes(uint32_t bytes) {
  switch (bytes) {
    case 1:
      return Dtype::kOpaque8;
    case 2:
      return Dtype::kOpaque16;
    case 4:
      return Dtype::kOpaque32;
    case 8:
      return Dtype::kOpaque64;
    default:
      return std::nullopt;
  }
}

absl::Status Wrong(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("dtype ", Quoted(text), ": ", why));
}

absl::StatusOr<TensorsDtype> ParseOpaque(absl::string_view text, absl::string_view size,
                                         std::optional<absl::string_view> torch) {
  uint32_t bytes = 0;
  if (!absl::SimpleAtoi(size, &bytes) || !OpaqueOfBytes(bytes).has_value()) {
    return Wrong(text, "wanted V1, V2, V4 or V8");
  }
  if (!torch.has_value()) return Wrong(text, "an opaque type needs the name of a torch type");
  if (!absl::StartsWith(*torch, kTorchPrefix) || torch->size() == kTorchPrefix.size()) {
    return Wrong(text, "wanted torch.NAME behind the NUL");
  }
  if (FindInvalidUtf8(*torch) != absl::string_view::npos) {
    return Wrong(text, "the torch type's name is not UTF-8");
  }
  const std::optional<Dtype> known = KnownTorchType(*torch);
  if (!known.has_value()) {
    return TensorsDtype{.dtype = *OpaqueOfBytes(bytes), .torch_name = std::string(*torch)};
  }
  if (DtypeBits(*known) != bytes * 8) {
    return Wrong(text,
                 absl::StrCat("an element of ", *torch, " has ", DtypeBits(*known) / 8, " bytes"));
  }
  return TensorsDtype{.dtype = *known, .torch_name = ""};
}

}  // namespace

absl::StatusOr<TensorsDtype> ParseTensorsDtype(absl::string_view text) {
  const size_t nul = text.find('\0');
  const absl::string_view numpy = text.substr(0, nul);
  std::optional<absl::string_view> torch;
  if (nul != absl::string_view::npos) torch = text.substr(nul + 1);
  if (torch.has_value() && torch->find('\0') != absl::string_view::npos) {
    return Wrong(text, "more than one NUL");
  }
  if (numpy.size() < 3) return Wrong(text, "wanted byte order, kind and size");
  const char order = numpy[0];
  if (order == '>') return Wrong(text, "big-endian elements are not supported");
  if (order != '<' && order != '|') return Wrong(text, "wanted byte order < or |");
  if (numpy[1] == 'V') return ParseOpaque(text, numpy.substr(2), torch);
  for (const NumpyRow& row : kNumpyRows) {
    if (row.text != numpy.substr(1)) continue;
    if (order == '|' && DtypeBits(row.dtype) > 8) {
      return Wrong(text, "elements of several bytes need the byte order <");
    }
    return TensorsDtype{.dtype = row.dtype, .torch_name = ""};
  }
  return Wrong(text, "not a type that the format has");
}

absl::StatusOr<std::string> FormatTensorsDtype(Dtype dtype, absl::string_view torch_name) {
  const absl::string_view order = DtypeBits(dtype) > 8 ? "<" : "|";
  for (const NumpyRow& row : kNumpyRows) {
    if (row.dtype == dtype) return absl::StrCat(order, row.text);
  }
  for (const TorchRow& row : kTorchRows) {
    if (row.dtype == dtype) torch_name = row.torch_name;
  }
  if (DtypeBits(dtype) < 8 || torch_name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype ", DtypeName(dtype), ": .tensors files do not have it"));
  }
  return absl::StrCat(order, "V", DtypeBits(dtype) / 8, absl::string_view("\0", 1), torch_name);
}

}  // namespace weightd
