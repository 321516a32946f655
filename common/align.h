#ifndef WEIGHTD_COMMON_ALIGN_H_
#define WEIGHTD_COMMON_ALIGN_H_

#include <cstdint>

namespace weightd {

inline constexpr uint64_t kKiB = uint64_t{1} << 10;
inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kGiB = uint64_t{1} << 30;

// Rounding to a multiple of `alignment`, a power of two. AlignUp wraps within `alignment` of 2^64:
// callers check sizes first.
constexpr uint64_t AlignDown(uint64_t value, uint64_t alignment) {
  return value & ~(alignment - 1);
}
constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return AlignDown(value + alignment - 1, alignment);
}
constexpr bool IsAligned(uint64_t value, uint64_t alignment) {
  return (value & (alignment - 1)) == 0;
}
constexpr bool IsPowerOfTwo(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

}  // namespace weightd

#endif  // WEIGHTD_COMMON_ALIGN_H_
