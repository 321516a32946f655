#ifndef WEIGHTD_DAEMON_STORAGE_PREAD_READ_QUEUE_H_
#define WEIGHTD_DAEMON_STORAGE_PREAD_READ_QUEUE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/storage/read_progress.h"
#include "daemon/storage/read_queue.h"

namespace weightd {

// The engine for machines without io_uring: threads that call pread(2), each with one read at a
// time from start to end. A thread whose call is stuck has another one take its place until it
// comes back. Thread-compatible outside, as ReadQueue asks.
class PreadReadQueue final : public ReadQueue {
 public:
  // `fallbacks` is what the caller did without before it came here.
  static absl::StatusOr<std::unique_ptr<ReadQueue>> Create(const ReadQueueOptions& options,
                                                           PreadFunction pread = SystemPread(),
                                                           Warnings fallbacks = {});
  ~PreadReadQueue() override;

  absl::Status Submit(const ReadRequest& request) override;
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(const ReadDone&)> done) override;
  uint32_t in_flight() const override { return in_flight_count_; }
  uint32_t stuck() const override { return stuck_count_; }
  int wake_descriptor() const override;
  ReadEngine engine() const override { return ReadEngine::kPread; }
  const Warnings& fallbacks() const override { return fallbacks_; }

 private:
  // What the threads share: they are nobody's to join.
  class Threads;

  PreadReadQueue(const ReadQueueOptions& options, Warnings fallbacks,
                 std::shared_ptr<Threads> threads)
      : options_(options), fallbacks_(std::move(fallbacks)), threads_(std::move(threads)) {}

  const ReadQueueOptions options_;
  const Warnings fallbacks_;
  const std::shared_ptr<Threads> threads_;
  // Of the owner's thread only.
  uint32_t in_flight_count_ = 0;
  uint32_t stuck_count_ = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_PREAD_READ_QUEUE_H_
