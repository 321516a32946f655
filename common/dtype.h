#ifndef WEIGHTD_COMMON_DTYPE_H_
#define WEIGHTD_COMMON_DTYPE_H_

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// Element types of tensors: the dtypes of safetensors 0.8 (shared/formats.md 2.3), and those that
// only .tensors files have (1.6.2). Thread-safe: pure functions.

namespace weightd {

// The values are those of weightd.v1.DType on the wire: never renumber.
enum class Dtype : uint8_t {
  kBool = 1,
  kF4 = 2,
  kF6E2M3 = 3,
  kF6E3M2 = 4,
  kU8 = 5,
  kI8 = 6,
  kF8E5M2 = 7,
  kF8E4M3 = 8,
  kF8E8M0 = 9,
  kF8E4M3Fnuz = 10,
  kF8E5M2Fnuz = 11,
  kI16 = 12,
  kU16 = 13,
  kF16 = 14,
  kBf16 = 15,
  kI32 = 16,
  kU32 = 17,
  kF32 = 18,
  kC64 = 19,
  kF64 = 20,
  kI64 = 21,
  kU64 = 22,
  // Not in safetensors.
  kC32 = 23,   // two F16
  kC128 = 24,  // two F64
  // Elements whose type only torch knows, by its name; 8, 16, 32 and 64 bits each.
  kOpaque8 = 25,
  kOpaque16 = 26,
  kOpaque32 = 27,
  kOpaque64 = 28,
};
inline constexpr int kDtypeCount = 28;
inline constexpr int kSafetensorsDtypeCount = 22;  // the first of them

// "BF16", "F8_E4M3" and so on: the code of safetensors, also ours in CLI, JSON and logs. The others
// are "C32", "C128" and "OPAQUE8" to "OPAQUE64".
absl::string_view DtypeName(Dtype dtype);
std::optional<Dtype> DtypeFromName(absl::string_view name);
inline bool IsSafetensorsDtype(Dtype dtype) {
  return static_cast<int>(dtype) <= kSafetensorsDtypeCount;
}
// The dtype of a wire value, or nullopt for one that this build does not know.
std::optional<Dtype> DtypeFromValue(int value);

// Bits of one element: 4, 6, 8, 16, 32, 64 or 128.
uint32_t DtypeBits(Dtype dtype);

// The alignment in bytes that an element needs to be read in place: its size, half of it for
// complex ones, 1 for sub-byte types.
uint32_t DtypeAlignment(Dtype dtype);

// Bytes of a dense tensor, or nullopt where the format's rules refuse it: the product of `shape`,
// multiplied left to right, or its bits overflow 64 bits, or the bits are no multiple of 8.
std::optional<uint64_t> TensorBytes(Dtype dtype, absl::Span<const uint64_t> shape);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_DTYPE_H_
