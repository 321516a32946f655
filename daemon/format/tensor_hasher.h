#ifndef WEIGHTD_DAEMON_FORMAT_TENSOR_HASHER_H_
#define WEIGHTD_DAEMON_FORMAT_TENSOR_HASHER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/align.h"
#include "daemon/format/manifest.h"

namespace weightd {

// XXH3-128 (seed 0) of a tensor's bytes, big-endian as its canonical form and its hexadecimal are.
using TensorDigest = std::array<std::byte, 16>;

// 32 digits, lower case.
std::string DigestText(const TensorDigest& digest);

// How much of what can be known about the bytes is looked at. The order is that of the cost.
enum class VerifyMode : uint8_t {
  kNone,  // no digest is made, no hash is checked
  kFast,  // digests, and the CRC32s that the file has
  kFull,  // and its SHA-256s
};

// "NONE" and so on.
absl::string_view VerifyModeName(VerifyMode mode);

// Hashes one tensor's bytes, in order, with all that is wanted at once: parts of the size of a
// processor cache go through each. Thread-compatible.
class TensorHasher {
 public:
  // Such a part stays in the second-level cache while each hash, or whoever uses it next, goes over
  // it.
  static constexpr size_t kPartBytes = 128 * kKiB;

  // `stored` is what the file has of the tensor, or null; it outlives the hasher. `data_bytes` is
  // the tensor's length in the file, which its hashes cover.
  TensorHasher(VerifyMode mode, const StoredHashes* stored, uint64_t data_bytes);
  TensorHasher(TensorHasher&&) noexcept;
  TensorHasher& operator=(TensorHasher&&) noexcept;
  ~TensorHasher();

  void Update(absl::Span<const std::byte> bytes);

  // After the last byte. OK, or DATA_LOSS/INTEGRITY_FAILED with which hash differs, what was found
  // and what the file has.
  absl::Status Check();
  TensorDigest digest() const;
  // Of the hashes that the file has, those that were looked at.
  uint32_t checked() const;
  // What the file should have; only where it was looked at.
  uint32_t crc32() const;
  Sha256 sha256();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// `bytes` zeros, as a meta tensor has them.
TensorDigest DigestOfZeros(uint64_t bytes);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TENSOR_HASHER_H_
