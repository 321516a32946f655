#ifndef WEIGHTD_TESTS_UNIT_STAGING_TEST_MANIFEST_H_
#define WEIGHTD_TESTS_UNIT_STAGING_TEST_MANIFEST_H_

#include <cstdint>
#include <random>
#include <vector>

#include "common/dtype.h"
#include "daemon/format/manifest.h"

// Manifests without files. Thread-safe: pure functions.

namespace weightd::testing {

// A tensor of `bytes` bytes behind the one before it.
struct TestTensor {
  Dtype dtype = Dtype::kU8;
  uint64_t bytes = 0;
  bool is_meta = false;  // of a .tensors file
};

// Appends a shard whose data section begins at `data_offset` of its file and holds `tensors`
// without gaps.
void AddShard(Manifest& manifest, uint64_t data_offset, const std::vector<TestTensor>& tensors);

// Likewise of a .tensors file, with a header of `header_bytes` before each tensor but the first.
void AddTensorsShard(Manifest& manifest, uint64_t data_offset, uint64_t header_bytes,
                     const std::vector<TestTensor>& tensors);

// One to four shards of either format, some of them empty, with headers of any length: also of
// those that leave tensors misaligned. Sections have up to `section_bytes_max` bytes.
Manifest RandomManifest(std::mt19937_64& random, uint64_t section_bytes_max);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_STAGING_TEST_MANIFEST_H_
