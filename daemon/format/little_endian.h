#ifndef WEIGHTD_DAEMON_FORMAT_LITTLE_ENDIAN_H_
#define WEIGHTD_DAEMON_FORMAT_LITTLE_ENDIAN_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/types/span.h"

// Integers as both file formats have them. Thread-safe: pure functions.

namespace weightd {

// `bytes` has exactly the integer's size.
template <typename Integer>
Integer LoadLittleEndian(absl::Span<const std::byte> bytes) {
  static_assert(std::is_unsigned_v<Integer>);
  uint64_t value = 0;
  for (size_t i = sizeof(Integer); i-- > 0;) value = value << 8 | static_cast<uint64_t>(bytes[i]);
  return static_cast<Integer>(value);
}

template <typename Integer>
void AppendLittleEndian(Integer value, std::string& to) {
  static_assert(std::is_unsigned_v<Integer>);
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    to.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xFF));
  }
}

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_LITTLE_ENDIAN_H_
