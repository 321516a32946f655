#ifndef WEIGHTD_DAEMON_STAGING_KEY_SOURCE_H_
#define WEIGHTD_DAEMON_STAGING_KEY_SOURCE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/format/manifest.h"
#include "daemon/format/tensor_decryptor.h"

namespace weightd {

// Where the keys of encrypted .tensors files come from: at most one key and one password.
struct KeySourceOptions {
  // 32 bytes, or 64 hexadecimal digits, also with a line break behind them.
  std::string key_file;
  std::string key_environment;  // name of a variable with 64 hexadecimal digits
  // The password's bytes, without a line break at their end.
  std::string password_file;
  std::string password_environment;
  // How long a file may take to be read: it may lie on a volume that hangs.
  absl::Duration file_timeout = absl::Seconds(10);
};

// Gives keys when they are needed. Files are read then, so that a key can be changed; variables
// once, by Create(), which takes them out of the environment. Secrets are in locked memory, wiped
// after use, and in no message. Thread-safe.
class KeySource {
 public:
  // INVALID_ARGUMENT/INVALID_REQUEST for a key or a password from two places, and for a variable
  // that is not there. Before threads that read the environment are started.
  static absl::StatusOr<std::shared_ptr<const KeySource>> Create(const KeySourceOptions& options);

  // Like the manifest's shards, null for one that is not encrypted. A password's key takes the time
  // and memory that its file asks for. FAILED_PRECONDITION/KEY_MISSING without a key for a file;
  // INVALID_ARGUMENT/INVALID_REQUEST for one that is no key; DEADLINE_EXCEEDED for a file that
  // does not answer within `file_timeout`.
  absl::StatusOr<std::vector<std::shared_ptr<const TensorsSecretKey>>> KeysFor(
      const Manifest& manifest) const;

 private:
  // Bytes in locked memory.
  class Secret;

  explicit KeySource(const KeySourceOptions& options) : options_(options) {}
  static absl::StatusOr<std::shared_ptr<const Secret>> TakeVariable(const std::string& name);
  static absl::StatusOr<std::shared_ptr<const Secret>> ReadFile(const std::string& path);
  absl::StatusOr<std::shared_ptr<const Secret>> ReadInTime(const std::string& path) const;
  absl::StatusOr<std::shared_ptr<const Secret>> Key() const;
  absl::StatusOr<std::shared_ptr<const Secret>> Password() const;
  absl::StatusOr<std::shared_ptr<const TensorsSecretKey>> KeyOf(const ShardEntry& shard) const;

  const KeySourceOptions options_;
  std::shared_ptr<const Secret> key_variable_;
  std::shared_ptr<const Secret> password_variable_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_KEY_SOURCE_H_
