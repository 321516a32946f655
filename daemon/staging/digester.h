#ifndef WEIGHTD_DAEMON_STAGING_DIGESTER_H_
#define WEIGHTD_DAEMON_STAGING_DIGESTER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/executor.h"
#include "daemon/format/manifest.h"
#include "daemon/format/sha256_sums.h"
#include "daemon/format/tensor_decryptor.h"
#include "daemon/format/tensor_hasher.h"
#include "daemon/staging/block_plan.h"
#include "daemon/staging/file_hasher.h"
#include "daemon/storage/volume.h"

// What is looked at as blocks pass: every tensor's bytes are hashed once, in order, and decrypted
// before that where the file is encrypted.
//
// Blocks come in any order and are worked on in that of the files, by one thread of its own: a
// digest is sequential. A block that waits for one before it keeps its staging buffer; the one
// before has one too, since blocks get theirs in order.

namespace weightd {

struct DigestOptions {
  VerifyMode mode = VerifyMode::kNone;
  // Like the manifest's shards; null for a file that is not encrypted. Empty: none is.
  std::vector<std::shared_ptr<const TensorsSecretKey>> keys;
  // What whole files must be, by shard.
  std::vector<FileSum> file_sums;
};

struct DigestOutcome {
  std::vector<TensorDigest> digests;  // like the manifest's tensors; empty with VerifyMode::kNone
  uint64_t hashes_checked = 0;        // of those that the files have
  uint64_t files_checked = 0;         // whole ones
};

class Digester {
 public:
  // `files` are like the manifest's shards. Manifest, pieces, files and executor outlive it. Where
  // no thread can be had, whoever submits works.
  Digester(const Manifest& manifest, const BlockPieces& pieces,
           absl::Span<const std::shared_ptr<File>> files, DigestOptions options,
           Executor& executor);
  Digester(const Digester&) = delete;
  Digester& operator=(const Digester&) = delete;
  // Waits for what is being worked on, and drops the rest.
  ~Digester();

  // The bytes of `block` that are wanted. They may be changed (decrypted) until the tag is
  // reported. `sequence` counts the blocks that are read, from 0, without a gap. Unless
  // `copy_to` is empty, each tensor's bytes are also copied to where they belong in it, host memory
  // that is the destination: what was just looked at is still in the processor's cache.
  void Submit(uint64_t sequence, const Block& block, absl::Span<std::byte> wanted,
              absl::Span<std::byte> copy_to, uint64_t tag);

  // Calls `done` with the tag of each block that was worked on, waiting up to `timeout` for one
  // where some are. The error is that of a tensor or file that is not what it should be: DATA_LOSS/
  // INTEGRITY_FAILED. After one, blocks are reported as they come.
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(uint64_t tag)> done);
  // Submitted and not yet reported.
  uint32_t pending() const { return pending_; }

  // When all blocks were reported.
  absl::StatusOr<DigestOutcome> Finish();

 private:
  struct Item {
    Block block;
    absl::Span<std::byte> wanted;
    absl::Span<std::byte> copy_to;
    uint64_t tag = 0;
  };
  // The tensor that the last piece was of.
  struct Current {
    size_t tensor_index = 0;
    std::optional<TensorHasher> hasher;
    std::unique_ptr<TensorDecryptor> decryptor;
  };

  void Loop();
  bool CanWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Works on the next block in order.
  void WorkOnNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Work(const Item& item);
  absl::Status WorkOn(const BlockPiece& piece, absl::Span<std::byte> bytes,
                      absl::Span<std::byte> copy_to);
  void Begin(size_t tensor_index);
  absl::Status End();
  absl::Status Annotated(const absl::Status& status, size_t tensor_index) const;

  const Manifest& manifest_;
  const BlockPieces& pieces_;
  const DigestOptions options_;
  Executor& executor_;
  uint32_t pending_ = 0;
  // Of the thread, or of whoever works.
  std::optional<FileHasher> file_hasher_;
  Current current_;
  DigestOutcome outcome_;

  mutable absl::Mutex mu_;
  absl::flat_hash_map<uint64_t, Item> waiting_ ABSL_GUARDED_BY(mu_);  // by sequence
  uint64_t next_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<uint64_t> done_ ABSL_GUARDED_BY(mu_);  // tags
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  TaskHandle thread_;  // none: whoever submits works
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_DIGESTER_H_
