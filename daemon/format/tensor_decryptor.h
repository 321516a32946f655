#ifndef WEIGHTD_DAEMON_FORMAT_TENSOR_DECRYPTOR_H_
#define WEIGHTD_DAEMON_FORMAT_TENSOR_DECRYPTOR_H_

#include <sodium.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "daemon/format/manifest.h"

// Decryption of .tensors files with libsodium (shared/formats.md 1.10).

namespace weightd {

// 32 bytes in memory of libsodium's: locked, not in core dumps, wiped at the end. Shared and read
// only: thread-safe.
class TensorsSecretKey {
 public:
  static constexpr size_t kBytes = crypto_secretbox_KEYBYTES;

  // INVALID_ARGUMENT/INVALID_REQUEST unless `bytes` has 32.
  static absl::StatusOr<std::shared_ptr<const TensorsSecretKey>> FromBytes(
      absl::Span<const std::byte> bytes);
  // Argon2id, as the file asks: takes its memory and time. RESOURCE_EXHAUSTED without the memory.
  static absl::StatusOr<std::shared_ptr<const TensorsSecretKey>> FromPassword(
      absl::string_view password, const KeyDerivation& derivation);

  const unsigned char* data() const { return bytes_.get(); }

 private:
  struct Free {
    void operator()(unsigned char* bytes) const { ::sodium_free(bytes); }
  };
  static absl::StatusOr<std::unique_ptr<unsigned char, Free>> Allocate();
  explicit TensorsSecretKey(std::unique_ptr<unsigned char, Free> bytes)
      : bytes_(std::move(bytes)) {}

  std::unique_ptr<unsigned char, Free> bytes_;
};

// Decrypts one tensor where it stands, in order and in parts of any size: a piece with its tag may
// be as large as the tensor. Thread-compatible.
class TensorDecryptor {
 public:
  // `encryption` outlives it.
  TensorDecryptor(const TensorEncryption& encryption, uint64_t data_bytes,
                  std::shared_ptr<const TensorsSecretKey> key);
  TensorDecryptor(const TensorDecryptor&) = delete;
  TensorDecryptor& operator=(const TensorDecryptor&) = delete;
  ~TensorDecryptor();

  // DATA_LOSS/INTEGRITY_FAILED when a piece that ends here is not what its tag says: a wrong key,
  // or changed data. What was decrypted before must not be used then.
  absl::Status Decrypt(absl::Span<std::byte> bytes);

 private:
  void BeginPiece();
  absl::Status EndPiece() const;
  // XORs the key stream from `position_` of the piece on.
  void Apply(absl::Span<std::byte> bytes);

  const TensorEncryption& encryption_;
  const uint64_t data_bytes_;
  const std::shared_ptr<const TensorsSecretKey> key_;
  uint64_t done_ = 0;      // of the tensor
  uint64_t position_ = 0;  // in the piece
  uint64_t piece_ = 0;
  std::array<unsigned char, crypto_secretbox_NONCEBYTES> nonce_ = {};
  mutable crypto_onetimeauth_state auth_ = {};
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TENSOR_DECRYPTOR_H_
