#ifndef WEIGHTD_DAEMON_STORAGE_PREAD_READ_QUEUE_H_
#define WEIGHTD_DAEMON_STORAGE_PREAD_READ_QUEUE_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"
#include "daemon/storage/read_progress.h"
#include "daemon/storage/read_queue.h"

namespace weightd {

// The engine for machines without io_uring: threads that call pread(2), each with one read at a
// time from start to end. Thread-compatible outside, as ReadQueue asks.
class PreadReadQueue final : public ReadQueue {
 public:
  // `fallbacks` is what the caller did without before it came here.
  static absl::StatusOr<std::unique_ptr<ReadQueue>> Create(const ReadQueueOptions& options,
                                                           PreadFunction pread = SystemPread(),
                                                           std::vector<std::string> fallbacks = {});
  ~PreadReadQueue() override;

  absl::Status Submit(const ReadRequest& request) override;
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(const ReadDone&)> done) override;
  uint32_t in_flight() const override { return in_flight_count_; }
  int wake_descriptor() const override { return wake_.get(); }
  ReadEngine engine() const override { return ReadEngine::kPread; }
  const std::vector<std::string>& fallbacks() const override { return fallbacks_; }

 private:
  // A thread and the call that it waits for.
  struct Worker {
    std::thread thread;
    const ReadProgress* progress = nullptr;  // none between reads
    uint64_t offset = 0;                     // of the call
    absl::Time started;                      // of SteadyNow(); the infinite future outside calls
  };

  PreadReadQueue(const ReadQueueOptions& options, PreadFunction pread,
                 std::vector<std::string> fallbacks)
      : options_(options), pread_(std::move(pread)), fallbacks_(std::move(fallbacks)) {}
  absl::Status StartThreads();
  void HandBack(ReadDone done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RunWorker(Worker& worker) ABSL_LOCKS_EXCLUDED(mu_);
  // False when the queue ends before the read does. Without the lock while the kernel reads.
  bool RunRead(Worker& worker, ReadProgress& progress) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopping_ || !waiting_.empty(); }
  bool HasFinished() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !finished_.empty(); }
  absl::Time StallDue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckStall(absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Waits for finished reads and takes them.
  absl::StatusOr<std::vector<ReadDone>> Collect(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_);

  const ReadQueueOptions options_;
  const PreadFunction pread_;
  std::vector<std::string> fallbacks_;            // fixed once Create() returns
  std::vector<std::unique_ptr<Worker>> workers_;  // likewise; what they hold is guarded by mu_
  UniqueFd wake_;                                 // likewise; counts while finished_ has reads
  uint32_t in_flight_count_ = 0;                  // of the owner's thread only
  absl::Status broken_;                           // likewise; the first error of the queue itself

  mutable absl::Mutex mu_;  // never held across a read or a callback
  std::deque<ReadProgress> waiting_ ABSL_GUARDED_BY(mu_);
  std::vector<ReadDone> finished_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_PREAD_READ_QUEUE_H_
