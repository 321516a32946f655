#include "daemon/staging/key_source.h"

#include <sodium.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/bounded_call.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/volume_file.h"

namespace weightd {
namespace {

constexpr size_t kSecretBytesMax = 4096;
constexpr size_t kKeyDigits = 2 * TensorsSecretKey::kBytes;

absl::Status Wrong(absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest, message);
}

}  // namespace

class KeySource::Secret {
 public:
  static absl::StatusOr<std::shared_ptr<Secret>> Allocate(std::string what) {
    if (::sodium_init() < 0) return absl::InternalError("libsodium does not start");
    auto* bytes = static_cast<char*>(::sodium_malloc(kSecretBytesMax));
    if (bytes == nullptr) return absl::ResourceExhaustedError("no locked memory for a secret");
    return std::shared_ptr<Secret>(new Secret(std::move(what), bytes));
  }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { ::sodium_free(bytes_); }

  char* data() { return bytes_; }
  void SetSize(size_t size) { size_ = size; }
  // Where it is from, for messages.
  const std::string& what() const { return what_; }
  absl::string_view text() const { return {bytes_, size_}; }
  // Without the line break that an editor puts at the end of a file.
  absl::string_view line() const {
    absl::string_view line = text();
    if (!line.empty() && line.back() == '\n') line.remove_suffix(1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line;
  }

 private:
  Secret(std::string what, char* bytes) : what_(std::move(what)), bytes_(bytes) {}
  const std::string what_;
  char* const bytes_;
  size_t size_ = 0;
};

absl::StatusOr<std::shared_ptr<const KeySource::Secret>> KeySource::TakeVariable(
    const std::string& name) {
  char* value = std::getenv(name.c_str());
  if (value == nullptr) return Wrong(absl::StrCat("environment variable ", name, " is not set"));
  ASSIGN_OR_RETURN(const std::shared_ptr<Secret> secret,
                   Secret::Allocate(absl::StrCat("environment variable ", name)));
  const size_t size = std::strlen(value);
  if (size > kSecretBytesMax) return Wrong(absl::StrCat(secret->what(), " is too long"));
  std::memcpy(secret->data(), value, size);
  secret->SetSize(size);
  ::sodium_memzero(value, size);  // /proc/PID/environ shows what was there at the start
  ::unsetenv(name.c_str());
  return secret;
}

absl::StatusOr<std::shared_ptr<const KeySource::Secret>> KeySource::ReadFile(
    const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Secret> secret, Secret::Allocate(path));
  ASSIGN_OR_RETURN(const size_t size,
                   ReadVolumeFile(path, absl::MakeSpan(secret->data(), kSecretBytesMax),
                                  absl::StrCat("key file ", path)));
  if (size == kSecretBytesMax) return Wrong(absl::StrCat("key file ", path, " is too long"));
  secret->SetSize(size);
  return secret;
}

absl::StatusOr<std::shared_ptr<const KeySource>> KeySource::Create(
    const KeySourceOptions& options) {
  if (!options.key_file.empty() && !options.key_environment.empty()) {
    return Wrong("a key is given by a file and by the environment, wanted one of them");
  }
  if (!options.password_file.empty() && !options.password_environment.empty()) {
    return Wrong("a password is given by a file and by the environment, wanted one of them");
  }
  std::shared_ptr<KeySource> source(new KeySource(options));
  if (!options.key_environment.empty()) {
    ASSIGN_OR_RETURN(source->key_variable_, TakeVariable(options.key_environment));
  }
  if (!options.password_environment.empty()) {
    ASSIGN_OR_RETURN(source->password_variable_, TakeVariable(options.password_environment));
  }
  return source;
}

absl::StatusOr<std::shared_ptr<const KeySource::Secret>> KeySource::ReadInTime(
    const std::string& path) const {
  return CallWithin<std::shared_ptr<const Secret>>(options_.file_timeout,
                                                   absl::StrCat("read key file ", path),
                                                   [path] { return ReadFile(path); });
}

absl::StatusOr<std::shared_ptr<const KeySource::Secret>> KeySource::Key() const {
  if (options_.key_file.empty()) return key_variable_;
  return ReadInTime(options_.key_file);
}

absl::StatusOr<std::shared_ptr<const KeySource::Secret>> KeySource::Password() const {
  if (options_.password_file.empty()) return password_variable_;
  return ReadInTime(options_.password_file);
}

absl::StatusOr<std::shared_ptr<const TensorsSecretKey>> KeySource::KeyOf(
    const ShardEntry& shard) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Secret> key, Key());
  if (key == nullptr && shard.key_derivation.has_value()) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const Secret> password, Password());
    if (password != nullptr) {
      return TensorsSecretKey::FromPassword(password->line(), *shard.key_derivation);
    }
  }
  if (key == nullptr) {
    return ErrorWithReason(
        absl::StatusCode::kFailedPrecondition, Reason::kKeyMissing,
        absl::StrCat(shard.path, " is encrypted with a ",
                     shard.key_derivation.has_value()
                         ? "password: set encryption.password_file or "
                           "encryption.password_environment"
                         : "key: set encryption.key_file or encryption.key_environment"),
        {{"file", shard.path}});
  }
  const auto bytes = [](absl::string_view text) {
    return absl::Span<const std::byte>(reinterpret_cast<const std::byte*>(text.data()),
                                       text.size());
  };
  if (key->text().size() == TensorsSecretKey::kBytes) {
    return TensorsSecretKey::FromBytes(bytes(key->text()));
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<Secret> decoded, Secret::Allocate(key->what()));
  const absl::string_view digits = key->line();
  size_t decoded_bytes = 0;
  if (digits.size() != kKeyDigits ||
      ::sodium_hex2bin(reinterpret_cast<unsigned char*>(decoded->data()), TensorsSecretKey::kBytes,
                       digits.data(), digits.size(), nullptr, &decoded_bytes, nullptr) != 0 ||
      decoded_bytes != TensorsSecretKey::kBytes) {
    return Wrong(
        absl::StrCat(key->what(), ": not a key, wanted 32 bytes or 64 hexadecimal digits"));
  }
  decoded->SetSize(decoded_bytes);
  return TensorsSecretKey::FromBytes(bytes(decoded->text()));
}

absl::StatusOr<std::vector<std::shared_ptr<const TensorsSecretKey>>> KeySource::KeysFor(
    const Manifest& manifest) const {
  std::vector<std::shared_ptr<const TensorsSecretKey>> keys(manifest.shards.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const ShardEntry& shard = manifest.shards[i];
    if (!shard.is_encrypted) continue;
    // The shards of one checkpoint mostly have one key: Argon2 is slow on purpose.
    if (i > 0 && keys[i - 1] != nullptr &&
        shard.key_derivation == manifest.shards[i - 1].key_derivation) {
      keys[i] = keys[i - 1];
      continue;
    }
    ASSIGN_OR_RETURN(keys[i], KeyOf(shard));
  }
  return keys;
}

}  // namespace weightd
