#include "daemon/format/tensor_hasher.h"

#include <isa-l/crc.h>
#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
// The same functions, as wide as the processor has them: xxhash.h is compiled for SSE2.
#include <xxh_x86dispatch.h>
#endif

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/check.h"
#include "common/errors.h"
#include "daemon/format/little_endian.h"

namespace weightd {
namespace {

absl::Status Differs(absl::string_view hash, absl::string_view got, absl::string_view wanted) {
  return ErrorWithReason(absl::StatusCode::kDataLoss, Reason::kIntegrityFailed,
                         absl::StrCat("its ", hash, " is ", got, ", the file has ", wanted));
}

}  // namespace

std::string DigestText(const TensorDigest& digest) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

absl::string_view VerifyModeName(VerifyMode mode) {
  switch (mode) {
    case VerifyMode::kNone:
      return "NONE";
    case VerifyMode::kFast:
      return "FAST";
    case VerifyMode::kFull:
      return "FULL";
  }
  return "";
}

struct TensorHasher::State {
  XXH3_state_t* xxh3 = nullptr;
  std::optional<uint32_t> crc32;
  std::optional<Sha256Hasher> sha256;
  const StoredHashes* stored = nullptr;
  std::optional<Sha256> sha256_done;

  ~State() { ::XXH3_freeState(xxh3); }

  // What the file's hashes cover; our own digest is of the tensor's bytes alone.
  void UpdateStored(absl::Span<const std::byte> bytes) {
    if (crc32.has_value()) {
      crc32 = ::crc32_gzip_refl(*crc32, reinterpret_cast<const unsigned char*>(bytes.data()),
                                bytes.size());
    }
    if (sha256.has_value()) sha256->Update(bytes);
  }
  void UpdateStored(absl::string_view text) {
    UpdateStored(absl::MakeConstSpan(reinterpret_cast<const std::byte*>(text.data()), text.size()));
  }
};

TensorHasher::TensorHasher(VerifyMode mode, const StoredHashes* stored, uint64_t data_bytes)
    : state_(std::make_unique<State>()) {
  if (mode == VerifyMode::kNone) return;
  state_->xxh3 = ::XXH3_createState();
  WEIGHTD_CHECK(state_->xxh3 != nullptr);
  ::XXH3_128bits_reset(state_->xxh3);
  if (stored == nullptr) return;
  state_->stored = stored;
  if (stored->crc32.has_value()) state_->crc32 = 0;
  if (stored->sha256.has_value() && mode == VerifyMode::kFull) state_->sha256.emplace();
  state_->UpdateStored(stored->header);
  state_->UpdateStored(std::string(stored->header_zeros, '\0'));
  std::string length;
  AppendLittleEndian(data_bytes, length);
  state_->UpdateStored(length);
}

TensorHasher::TensorHasher(TensorHasher&&) noexcept = default;
TensorHasher& TensorHasher::operator=(TensorHasher&&) noexcept = default;
TensorHasher::~TensorHasher() = default;

void TensorHasher::Update(absl::Span<const std::byte> bytes) {
  if (state_->xxh3 == nullptr) return;
  while (!bytes.empty()) {
    const absl::Span<const std::byte> part = bytes.subspan(0, kPartBytes);
    ::XXH3_128bits_update(state_->xxh3, part.data(), part.size());
    state_->UpdateStored(part);
    bytes.remove_prefix(part.size());
  }
}

TensorDigest TensorHasher::digest() const {
  TensorDigest digest = {};
  if (state_->xxh3 == nullptr) return digest;
  XXH128_canonical_t canonical;
  ::XXH128_canonicalFromHash(&canonical, ::XXH3_128bits_digest(state_->xxh3));
  static_assert(sizeof(canonical.digest) == sizeof(digest));
  std::memcpy(digest.data(), canonical.digest, sizeof(digest));
  return digest;
}

uint32_t TensorHasher::crc32() const { return state_->crc32.value_or(0); }

Sha256 TensorHasher::sha256() {
  if (!state_->sha256_done.has_value()) {
    state_->sha256_done = state_->sha256.has_value() ? state_->sha256->Finish() : Sha256{};
  }
  return *state_->sha256_done;
}

uint32_t TensorHasher::checked() const {
  return (state_->crc32.has_value() ? 1 : 0) + (state_->sha256.has_value() ? 1 : 0);
}

absl::Status TensorHasher::Check() {
  if (state_->crc32.has_value() && *state_->crc32 != *state_->stored->crc32) {
    return Differs("CRC32", absl::StrFormat("%08x", *state_->crc32),
                   absl::StrFormat("%08x", *state_->stored->crc32));
  }
  if (state_->sha256.has_value() && sha256() != *state_->stored->sha256) {
    return Differs("SHA-256", DigestText(sha256()), DigestText(*state_->stored->sha256));
  }
  return absl::OkStatus();
}

TensorDigest DigestOfZeros(uint64_t bytes) {
  static const auto* const zeros = new std::vector<std::byte>(TensorHasher::kPartBytes);
  TensorHasher hasher(VerifyMode::kFast, nullptr, bytes);
  for (; bytes > 0; bytes -= std::min<uint64_t>(bytes, zeros->size())) {
    hasher.Update(absl::MakeConstSpan(*zeros).subspan(0, bytes));
  }
  return hasher.digest();
}

}  // namespace weightd
