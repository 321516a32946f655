#ifndef WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_TENSOR_SPECS_H_
#define WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_TENSOR_SPECS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/dtype.h"

// What the tensors of a test checkpoint are called and hold. Thread-safe: pure functions.

namespace weightd::testing {

struct TensorSpec {
  std::string name;
  Dtype dtype = Dtype::kBf16;
  std::vector<uint64_t> shape;
};

// Bytes of one tensor, or of all. The specs must be valid for the format.
uint64_t SpecBytes(const TensorSpec& spec);
uint64_t SpecBytes(absl::Span<const TensorSpec> specs);

// Names and shapes of a Llama in BF16, scaled to `total_bytes` (at least 1 MiB): hidden size,
// layers and vocabulary are chosen so that at most 0.1 % or 64 KiB is missing.
std::vector<TensorSpec> LlamaSpecs(uint64_t total_bytes);

// `count` tensors of equal size, `total_bytes` in all as far as it divides, at least two bytes
// each.
std::vector<TensorSpec> SmallTensorSpecs(uint64_t count, uint64_t total_bytes);

// A scalar, an empty tensor and a 3 by 7 one of every dtype that both formats have.
std::vector<TensorSpec> SharedDtypeSpecs();

// The content of test tensors: bytes `offset` to `offset + out.size()` of tensor `name`.
//
// Byte i is byte i%8 (little-endian) of word i/8; word w is Mix(key + (w+1) * 0x9E3779B97F4A7C15)
// with key = FNV-1a64(name) ^ Mix(seed) and Mix(x) = y ^ (y >> 32), y = (x ^ (x >> 29)) *
// 0xBF58476D1CE4E5B9. So any range can be checked without the file.
void FillTensorBytes(uint64_t seed, absl::string_view name, uint64_t offset,
                     absl::Span<std::byte> out);
// Position in `bytes` of the first byte that is not what FillTensorBytes gives, or -1.
int64_t FindWrongByte(uint64_t seed, absl::string_view name, uint64_t offset,
                      absl::Span<const std::byte> bytes);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_TENSOR_SPECS_H_
