#ifndef WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_TENSORS_WRITER_H_
#define WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_TENSORS_WRITER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "tests/support/checkpoints/tensor_specs.h"

namespace weightd::testing {

struct TensorsOptions {
  uint64_t seed = 1;  // of the content, as WriteOptions has it
  uint64_t alignment =
      1;  // of data, by padding in the headers; 1 is what the reference writer does
  bool has_index = true;
  // Flips a bit of the last tensor's data, after its hashes were made.
  bool damaged = false;
  // 32 bytes: encrypts the data with it, in pieces of 64 KiB. Such files have SHA-256 alone.
  std::string key = {};
  // Encrypts with the key that Argon2id makes of it, with the least operations and memory.
  std::string password = {};
};

// A .tensors file as the reference writer makes one, with hashes by zlib and OpenSSL: the same
// content that WriteSafetensors writes for the same specs and seed, in the order of the specs.
// Holds all of it in memory. Tensors are state-dict entries; the dtypes are those that both formats
// have.
absl::Status WriteTensors(const std::string& path, absl::Span<const TensorSpec> specs,
                          const TensorsOptions& options = {});

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_TENSORS_WRITER_H_
