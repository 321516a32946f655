#ifndef WEIGHTD_DAEMON_STORAGE_URING_READ_QUEUE_H_
#define WEIGHTD_DAEMON_STORAGE_URING_READ_QUEUE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/storage/read_progress.h"
#include "daemon/storage/read_queue.h"
#include "daemon/storage/uring.h"

namespace weightd {

// The io_uring engine. Thread-compatible; the thread of the first Submit or Poll owns the ring.
// Submit refuses files of FUSE, and those whose file system nobody can tell: INVALID_ARGUMENT.
//
// An entry (one read) is in one of three places:
//
//   free_ --Submit--> kernel --result--> [ReadProgress] --finished--> finished_ --Poll--> free_
//                       ^                      |
//                       +----- due <--- deferred_ (EAGAIN: after a pause)
//
// One that is stuck stays in the kernel, where it is cancelled, which may not help. Each entry has
// at most one request in the kernel, so the rings cannot overflow.
class UringReadQueue final : public ReadQueue {
 public:
  static absl::StatusOr<std::unique_ptr<ReadQueue>> Create(const ReadQueueOptions& options);
  ~UringReadQueue() override;

  absl::Status Submit(const ReadRequest& request) override;
  absl::Status Poll(absl::Duration timeout, absl::FunctionRef<void(const ReadDone&)> done) override;
  uint32_t in_flight() const override { return in_flight_count_; }
  uint32_t stuck() const override { return stuck_count_; }
  int wake_descriptor() const override { return uring_.descriptor(); }
  ReadEngine engine() const override { return ReadEngine::kUring; }
  const Warnings& fallbacks() const override { return fallbacks_; }

 private:
  struct Entry {
    ReadProgress progress;
    int32_t file_index = -1;  // in the ring's table
    bool in_kernel = false;
    bool stuck = false;  // in the kernel, and told so
    absl::Time started;  // the current part; of SteadyNow()
  };

  // A copy of what the ring said, so that what follows may use the ring.
  struct Completion {
    uint64_t data = 0;
    int32_t result = 0;
  };

  UringReadQueue(const ReadQueueOptions& options, Uring uring, Warnings fallbacks);

  void Start(uint32_t index, absl::Time now);
  void PrepareRead(uint32_t index);
  void StartDeferred(absl::Time now);
  // Enters the kernel: submits, and waits until `until` for completions (poll_batch). A broken ring
  // is kept in broken_.
  void Enter(absl::Time now, absl::Time until);
  void Reap();
  void TakeResult(uint32_t index, int32_t result);
  void FinishEntry(uint32_t index);
  absl::Time NextDue(absl::Time deadline) const;
  void TellStuck(absl::Time now);
  // Asks the kernel to end what entry `index` has there.
  void PrepareCancel(uint32_t index);
  void Deliver(absl::FunctionRef<void(const ReadDone&)> done);
  void ReleaseFile(Entry& entry);
  void CancelAll();

  const ReadQueueOptions options_;
  const Warnings fallbacks_;
  Uring uring_;
  UringFileTable files_;
  const PreadFunction pread_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> deferred_;
  std::vector<ReadDone> finished_;
  std::vector<ReadDone> delivered_;  // empty outside Deliver()
  std::vector<Completion> completions_;
  uint32_t in_flight_count_ = 0;
  uint32_t stuck_count_ = 0;      // told
  uint32_t in_kernel_count_ = 0;  // those that are stuck included
  uint32_t stuck_in_kernel_count_ = 0;
  absl::Status broken_;  // the first error of the queue itself; stops all that follows
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_URING_READ_QUEUE_H_
