#include "common/dtype.h"

#include <array>
#include <cstddef>

namespace weightd {
namespace {

struct DtypeRow {
  Dtype dtype;
  absl::string_view name;
  uint8_t bits;
  uint8_t alignment;
};

// In the order of the enum, which starts at 1.
constexpr std::array<DtypeRow, kDtypeCount> kRows = {{
    {Dtype::kBool, "BOOL", 8, 1},
    {Dtype::kF4, "F4", 4, 1},
    {Dtype::kF6E2M3, "F6_E2M3", 6, 1},
    {Dtype::kF6E3M2, "F6_E3M2", 6, 1},
    {Dtype::kU8, "U8", 8, 1},
    {Dtype::kI8, "I8", 8, 1},
    {Dtype::kF8E5M2, "F8_E5M2", 8, 1},
    {Dtype::kF8E4M3, "F8_E4M3", 8, 1},
    {Dtype::kF8E8M0, "F8_E8M0", 8, 1},
    {Dtype::kF8E4M3Fnuz, "F8_E4M3FNUZ", 8, 1},
    {Dtype::kF8E5M2Fnuz, "F8_E5M2FNUZ", 8, 1},
    {Dtype::kI16, "I16", 16, 2},
    {Dtype::kU16, "U16", 16, 2},
    {Dtype::kF16, "F16", 16, 2},
    {Dtype::kBf16, "BF16", 16, 2},
    {Dtype::kI32, "I32", 32, 4},
    {Dtype::kU32, "U32", 32, 4},
    {Dtype::kF32, "F32", 32, 4},
    {Dtype::kC64, "C64", 64, 4},
    {Dtype::kF64, "F64", 64, 8},
    {Dtype::kI64, "I64", 64, 8},
    {Dtype::kU64, "U64", 64, 8},
    {Dtype::kC32, "C32", 32, 2},
    {Dtype::kC128, "C128", 128, 8},
    {Dtype::kOpaque8, "OPAQUE8", 8, 1},
    {Dtype::kOpaque16, "OPAQUE16", 16, 2},
    {Dtype::kOpaque32, "OPAQUE32", 32, 4},
    {Dtype::kOpaque64, "OPAQUE64", 64, 8},
}};

const DtypeRow& Row(Dtype dtype) { return kRows[static_cast<size_t>(dtype) - 1]; }

}  // namespace

absl::string_view DtypeName(Dtype dtype) { return Row(dtype).name; }

std::optional<Dtype> DtypeFromName(absl::string_view name) {
  for (const DtypeRow& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

std::optional<Dtype> DtypeFromValue(int value) {
  if (value < 1 || value > kDtypeCount) return std::nullopt;
  return static_cast<Dtype>(value);
}

uint32_t DtypeBits(Dtype dtype) { return Row(dtype).bits; }

uint32_t DtypeAlignment(Dtype dtype) { return Row(dtype).alignment; }

std::optional<uint64_t> TensorBytes(Dtype dtype, absl::Span<const uint64_t> shape) {
  uint64_t bits = 1;
  for (const uint64_t dimension : shape) {
    if (__builtin_mul_overflow(bits, dimension, &bits)) return std::nullopt;
  }
  if (__builtin_mul_overflow(bits, uint64_t{DtypeBits(dtype)}, &bits)) return std::nullopt;
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

}  // namespace weightd
