#ifndef WEIGHTD_DAEMON_STAGING_READ_LOOP_H_
#define WEIGHTD_DAEMON_STAGING_READ_LOOP_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/executor.h"
#include "daemon/staging/depth_control.h"
#include "daemon/staging/reads_in_flight.h"
#include "daemon/staging/transfer.h"
#include "daemon/storage/read_queue.h"

namespace weightd {

struct ReadLoopOptions {
  uint32_t depth_max = 16;                           // reads in flight, of all transfers together
  absl::Duration stall_timeout = absl::Seconds(60);  // of copies; the read queue has its own
  // How long a failed transfer waits for its reads before it is abandoned.
  absl::Duration patience = absl::Milliseconds(250);
  ReadsInFlight* reads_in_flight = nullptr;  // of all loops together; outlives it. None: no most
};

// What became of transfers in one round. Each is its owner's again, but those that are abandoned.
struct LoopEnds {
  std::vector<Transfer*> ended;      // well or not: nothing of theirs is in flight
  std::vector<Transfer*> abandoned;  // failed, and their reads do not come back
  std::vector<Transfer*> released;   // were abandoned, and the last read has come back
};

// Runs transfers on one read queue, fairly: each of n has at most an n-th of the reads in flight
// and of the staging buffers, and they take turns block by block. One whose reads are stuck holds
// up no other.
//
// Thread-compatible: the thread that steps owns the queue.
class ReadLoop {
 public:
  // `executor` outlives it.
  ReadLoop(const ReadLoopOptions& options, std::unique_ptr<ReadQueue> queue, Executor& executor);
  ReadLoop(const ReadLoop&) = delete;
  ReadLoop& operator=(const ReadLoop&) = delete;
  ~ReadLoop() { (void)Break(); }

  // `transfer` stays the caller's, who takes it back from Step().
  void Add(Transfer* transfer);
  bool idle() const { return transfers_.empty(); }

  // One round: begins what shares allow, waits up to `timeout` for something to happen, and takes
  // it. An error is the queue's, which broke: all transfers lose their reads and stay here until
  // Break() was called.
  absl::Status Step(absl::Duration timeout, LoopEnds& ends);
  // After an error: destroys the queue, which waits for the kernel, and gives all transfers.
  std::vector<Transfer*> Break();
  const std::vector<Transfer*>& transfers() const { return transfers_; }
  const std::vector<Transfer*>& abandoned() const { return abandoned_; }

  const ReadQueue& queue() const { return *queue_; }
  uint32_t depth() const { return depth_.depth(); }

 private:
  // What a round of submitting ran into.
  struct Waits {
    bool pages = false;
    bool slots = false;
    bool depth = false;
    absl::Time free_at = absl::InfiniteFuture();
  };

  Waits SubmitRound(absl::Time now);
  // Whether one more read may be begun, which is counted then.
  bool TakeShare();
  void GiveShare(uint64_t reads);
  // False when nothing could be begun for `transfer`.
  bool SubmitOne(Transfer& transfer, uint32_t share, absl::Time now, Waits& waits);
  absl::Duration WaitFor(const Waits& waits, absl::Duration timeout, absl::Time now) const;
  absl::Status Wait(absl::Duration timeout);
  absl::Status PollQueue(absl::Duration timeout);
  void TakeEnded(absl::Time now, LoopEnds& ends);

  const ReadLoopOptions options_;
  std::unique_ptr<ReadQueue> queue_;
  Executor& executor_;
  DepthControl depth_;
  std::vector<Transfer*> transfers_;
  std::vector<Transfer*> abandoned_;
  absl::flat_hash_map<uint64_t, Transfer*> reading_;  // by tag
  uint64_t shares_ = 0;                               // taken of ReadLoopOptions::reads_in_flight
  uint64_t next_tag_ = 1;
  size_t first_ = 0;  // whose turn it is
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_READ_LOOP_H_
