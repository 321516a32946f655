#include "daemon/format/sha256.h"

#include <openssl/evp.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "common/check.h"

namespace weightd {

std::string DigestText(const Sha256& digest) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::optional<Sha256> ParseSha256(absl::string_view text) {
  Sha256 digest;
  if (text.size() != 2 * digest.size() ||
      !std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isxdigit(c); })) {
    return std::nullopt;
  }
  const std::string bytes = absl::HexStringToBytes(text);
  std::transform(bytes.begin(), bytes.end(), digest.begin(),
                 [](char c) { return static_cast<std::byte>(c); });
  return digest;
}

struct Sha256Hasher::State {
  EVP_MD_CTX* context = ::EVP_MD_CTX_new();
  ~State() { ::EVP_MD_CTX_free(context); }
};

Sha256Hasher::Sha256Hasher() : state_(std::make_unique<State>()) {
  WEIGHTD_CHECK(state_->context != nullptr &&
                ::EVP_DigestInit_ex(state_->context, ::EVP_sha256(), nullptr) == 1);
}

Sha256Hasher::Sha256Hasher(Sha256Hasher&&) noexcept = default;
Sha256Hasher& Sha256Hasher::operator=(Sha256Hasher&&) noexcept = default;
Sha256Hasher::~Sha256Hasher() = default;

void Sha256Hasher::Update(absl::Span<const std::byte> bytes) {
  WEIGHTD_CHECK(::EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

Sha256 Sha256Hasher::Finish() {
  Sha256 digest = {};
  WEIGHTD_CHECK(::EVP_DigestFinal_ex(state_->context,
                                     reinterpret_cast<unsigned char*>(digest.data()),
                                     nullptr) == 1);
  return digest;
}

}  // namespace weightd
