#ifndef WEIGHTD_DAEMON_SERVICE_TENSOR_BATCHES_H_
#define WEIGHTD_DAEMON_SERVICE_TENSOR_BATCHES_H_

#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "daemon/residency/generation.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd {

// The bytes of a message as gRPC sends them. Copies of a ByteBuffer share them.
grpc::ByteBuffer ToBytes(const google::protobuf::MessageLite& message);

// The table of tensors of one copy, in messages of an attach below 1 MiB: made when the first one
// who attaches needs them, and kept for all others. Thread-safe; nothing is made under the lock.
class TensorBatches {
 public:
  // How far one stream is.
  struct Place {
    size_t batch = 0;
    size_t tensor = 0;    // the first of that batch
    bool shared = false;  // what came last is kept for all: it costs this stream nothing
  };

  // What all tables keep together.
  struct Budget {
    size_t bytes_max = 0;
    std::atomic<size_t> kept_bytes = 0;
  };

  // Keeps the first batches, as many as the budget has room for; what is beyond is made each time.
  explicit TensorBatches(std::shared_ptr<Budget> budget) : budget_(std::move(budget)) {}
  TensorBatches(const TensorBatches&) = delete;
  TensorBatches& operator=(const TensorBatches&) = delete;
  ~TensorBatches() { budget_->kept_bytes.fetch_sub(kept_bytes()); }

  // The batch at `place`, which moves on; nullopt past the last. `content` is always the same.
  std::optional<grpc::ByteBuffer> Next(const CopyContent& content, Place& place);

  size_t kept_bytes() const;

 private:
  struct Batch {
    grpc::ByteBuffer bytes;
    size_t tensors_end = 0;
  };
  static Batch Make(const CopyContent& content, size_t begin);

  const std::shared_ptr<Budget> budget_;
  mutable absl::Mutex mu_;
  std::vector<Batch> kept_ ABSL_GUARDED_BY(mu_);
  size_t kept_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

// The tables of the copies that were attached to last. What it keeps is host memory outside of the
// budgets, `bytes_max` at most (limits.tensor_tables_bytes_max). Thread-safe.
class TensorBatchCache {
 public:
  explicit TensorBatchCache(size_t bytes_max);

  std::shared_ptr<TensorBatches> Of(const std::shared_ptr<const CopyContent>& content);

  size_t kept_bytes() const { return budget_->kept_bytes.load(); }

 private:
  struct Entry {
    CopyId copy;
    std::weak_ptr<const CopyContent> content;  // gone: it was evicted
    std::shared_ptr<TensorBatches> batches;
  };
  // Takes out what is gone, and of the rest the oldest, until half of the room is left.
  void MakeRoom(std::vector<std::shared_ptr<TensorBatches>>& dropped)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<TensorBatches::Budget> budget_;
  mutable absl::Mutex mu_;
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mu_);  // the last used one first
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_TENSOR_BATCHES_H_
