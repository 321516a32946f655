#ifndef WEIGHTD_TESTS_CONTRACT_DEVICE_CHECKSUM_H_
#define WEIGHTD_TESTS_CONTRACT_DEVICE_CHECKSUM_H_

#include <cstddef>
#include <cstdint>

namespace weightd::testing {

// FNV-1a, the checksum that weightd_device_peer prints.
inline uint64_t Checksum(const void* memory, size_t bytes) {
  uint64_t sum = 0xcbf29ce484222325;
  const auto* data = static_cast<const unsigned char*>(memory);
  for (size_t i = 0; i < bytes; ++i) sum = (sum ^ data[i]) * 0x100000001b3;
  return sum;
}

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_CONTRACT_DEVICE_CHECKSUM_H_
