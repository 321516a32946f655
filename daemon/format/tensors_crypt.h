#ifndef WEIGHTD_DAEMON_FORMAT_TENSORS_CRYPT_H_
#define WEIGHTD_DAEMON_FORMAT_TENSORS_CRYPT_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "daemon/format/byte_reader.h"
#include "daemon/format/manifest.h"
#include "daemon/format/tensors_file.h"

// The crypt block of a tensor header (shared/formats.md 1.10.1). Thread-safe: pure functions.

namespace weightd {

struct TensorsCryptBlock {
  std::optional<TensorEncryption> encryption;   // none for a tensor without data
  std::optional<KeyDerivation> key_derivation;  // where the key comes from a password
};

// `block` is what stands behind the block's length, all of it; `data_bytes` of the tensor.
absl::Status ParseTensorsCryptBlock(ByteReader block, uint64_t data_bytes,
                                    const TensorsLimits& limits, TensorsCryptBlock& result);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TENSORS_CRYPT_H_
