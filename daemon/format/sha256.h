#ifndef WEIGHTD_DAEMON_FORMAT_SHA256_H_
#define WEIGHTD_DAEMON_FORMAT_SHA256_H_

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace weightd {

using Sha256 = std::array<std::byte, 32>;

// 64 hexadecimal digits, lower case.
std::string DigestText(const Sha256& digest);

// The other way; nullopt for what is not 64 hexadecimal digits. Thread-safe.
std::optional<Sha256> ParseSha256(absl::string_view text);

// Of bytes that come in parts (OpenSSL's). Thread-compatible.
class Sha256Hasher {
 public:
  Sha256Hasher();
  Sha256Hasher(Sha256Hasher&&) noexcept;
  Sha256Hasher& operator=(Sha256Hasher&&) noexcept;
  ~Sha256Hasher();

  void Update(absl::Span<const std::byte> bytes);
  // Once, after the last byte.
  Sha256 Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_SHA256_H_
