#include "daemon/format/tensor_decryptor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr uint64_t kStreamBlockBytes = 64;
// The first bytes of the key stream are the key of the tag; text begins behind them.
constexpr uint64_t kTextOffset = crypto_onetimeauth_KEYBYTES;

unsigned char* Bytes(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }

void StartSodium() {
  static const bool started = ::sodium_init() >= 0;
  WEIGHTD_CHECK(started);
}

}  // namespace

absl::StatusOr<std::unique_ptr<unsigned char, TensorsSecretKey::Free>>
TensorsSecretKey::Allocate() {
  StartSodium();
  std::unique_ptr<unsigned char, Free> bytes(static_cast<unsigned char*>(::sodium_malloc(kBytes)));
  if (bytes == nullptr) return absl::ResourceExhaustedError("no locked memory for a key");
  return bytes;
}

absl::StatusOr<std::shared_ptr<const TensorsSecretKey>> TensorsSecretKey::FromBytes(
    absl::Span<const std::byte> bytes) {
  if (bytes.size() != kBytes) {
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                           absl::StrCat("a key of ", bytes.size(), " bytes, wanted ", kBytes));
  }
  ASSIGN_OR_RETURN(auto key, Allocate());
  std::memcpy(key.get(), bytes.data(), kBytes);
  return std::shared_ptr<const TensorsSecretKey>(new TensorsSecretKey(std::move(key)));
}

absl::StatusOr<std::shared_ptr<const TensorsSecretKey>> TensorsSecretKey::FromPassword(
    absl::string_view password, const KeyDerivation& derivation) {
  ASSIGN_OR_RETURN(auto key, Allocate());
  static_assert(sizeof(derivation.salt) == crypto_pwhash_SALTBYTES);
  const int result =
      ::crypto_pwhash(key.get(), kBytes, password.data(), password.size(),
                      reinterpret_cast<const unsigned char*>(derivation.salt.data()),
                      derivation.operations, derivation.memory_bytes, crypto_pwhash_ALG_ARGON2ID13);
  if (result != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("derive a key with ", derivation.memory_bytes, " bytes of memory"));
  }
  return std::shared_ptr<const TensorsSecretKey>(new TensorsSecretKey(std::move(key)));
}

TensorDecryptor::TensorDecryptor(const TensorEncryption& encryption, uint64_t data_bytes,
                                 std::shared_ptr<const TensorsSecretKey> key)
    : encryption_(encryption), data_bytes_(data_bytes), key_(std::move(key)) {
  static_assert(sizeof(encryption.nonce) == sizeof(nonce_));
  std::memcpy(nonce_.data(), encryption.nonce.data(), nonce_.size());
}

TensorDecryptor::~TensorDecryptor() { ::sodium_memzero(&auth_, sizeof(auth_)); }

void TensorDecryptor::BeginPiece() {
  unsigned char auth_key[crypto_onetimeauth_KEYBYTES] = {};
  (void)::crypto_stream_xsalsa20(auth_key, sizeof(auth_key), nonce_.data(), key_->data());
  (void)::crypto_onetimeauth_init(&auth_, auth_key);
  ::sodium_memzero(auth_key, sizeof(auth_key));
}

absl::Status TensorDecryptor::EndPiece() const {
  unsigned char tag[crypto_onetimeauth_BYTES] = {};
  (void)::crypto_onetimeauth_final(&auth_, tag);
  static_assert(sizeof(encryption_.tags[0]) == sizeof(tag));
  if (piece_ < encryption_.tags.size() &&
      ::sodium_memcmp(tag, encryption_.tags[piece_].data(), sizeof(tag)) == 0) {
    return absl::OkStatus();
  }
  return ErrorWithReason(
      absl::StatusCode::kDataLoss, Reason::kIntegrityFailed,
      absl::StrCat("it does not decrypt, in the ", encryption_.piece_bytes,
                   " bytes that end at byte ", done_,
                   " of it: the key is not the file's, or the data was changed"));
}

void TensorDecryptor::Apply(absl::Span<std::byte> bytes) {
  uint64_t at = kTextOffset + position_;
  if (at % kStreamBlockBytes != 0) {
    // The rest of a block of the key stream.
    const uint64_t skip = at % kStreamBlockBytes;
    unsigned char block[kStreamBlockBytes] = {};
    const size_t count = std::min<uint64_t>(kStreamBlockBytes - skip, bytes.size());
    (void)::crypto_stream_xsalsa20_xor_ic(block, block, sizeof(block), nonce_.data(),
                                          at / kStreamBlockBytes, key_->data());
    for (size_t i = 0; i < count; ++i) bytes[i] ^= static_cast<std::byte>(block[skip + i]);
    ::sodium_memzero(block, sizeof(block));
    bytes.remove_prefix(count);
    at += count;
  }
  if (bytes.empty()) return;
  (void)::crypto_stream_xsalsa20_xor_ic(Bytes(bytes.data()), Bytes(bytes.data()), bytes.size(),
                                        nonce_.data(), at / kStreamBlockBytes, key_->data());
}

absl::Status TensorDecryptor::Decrypt(absl::Span<std::byte> bytes) {
  while (!bytes.empty()) {
    if (position_ == 0) BeginPiece();
    const uint64_t piece_end = std::min((piece_ + 1) * encryption_.piece_bytes, data_bytes_);
    if (piece_end <= done_) {
      return absl::InternalError("decrypt: more bytes than the tensor has");
    }
    const absl::Span<std::byte> part = bytes.subspan(0, piece_end - done_);
    (void)::crypto_onetimeauth_update(&auth_, Bytes(part.data()), part.size());
    Apply(part);
    done_ += part.size();
    position_ += part.size();
    bytes.remove_prefix(part.size());
    if (done_ < piece_end) continue;
    RETURN_IF_ERROR(EndPiece());
    ++piece_;
    position_ = 0;
    ::sodium_increment(nonce_.data(), nonce_.size());
  }
  return absl::OkStatus();
}

}  // namespace weightd
