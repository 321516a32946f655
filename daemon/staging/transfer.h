#ifndef WEIGHTD_DAEMON_STAGING_TRANSFER_H_
#define WEIGHTD_DAEMON_STAGING_TRANSFER_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "daemon/staging/block_plan.h"
#include "daemon/staging/stager.h"

// The loop of one job: blocks are read, copied where they do not land in place, and counted.
//
//   plan --Submit--> reading --(congruent)-----------------> done
//                       |----(else) copying, out of its slot--^
//
// Thread-compatible, used once. Files, queues, pool and destination outlive it.

namespace weightd {

class Transfer {
 public:
  Transfer(const StageInput& input, const StagerOptions& options, const StagingPool& pool,
           ReadQueue& reads, CopyQueue& copies);

  // Runs to the end or to the first error; then nothing is in flight any more.
  absl::Status Run(const std::atomic<bool>& cancelled,
                   absl::FunctionRef<void(uint64_t bytes_done)> progress);

  uint64_t bytes_done() const { return bytes_done_; }
  bool direct() const { return direct_; }

 private:
  struct InFlight {
    Block block;
    int32_t slot = -1;
  };

  bool CanSubmit() const;
  absl::Status SubmitNext();
  absl::Status PollReads(absl::Duration timeout);
  absl::Status PollCopies(absl::Duration timeout);
  absl::Status OnRead(const ReadDone& done);
  absl::Status Step();
  // Waits until no read and no copy uses the destination or a slot.
  absl::Status Drain();

  const StageInput& input_;
  const StagerOptions& options_;
  const StagingPool& pool_;
  ReadQueue& reads_;
  CopyQueue& copies_;
  BlockPlan plan_;
  std::optional<Block> next_;
  std::vector<int32_t> free_slots_;
  absl::flat_hash_map<uint64_t, InFlight> in_flight_;  // by tag
  uint64_t next_tag_ = 1;
  uint64_t bytes_done_ = 0;
  bool direct_ = true;
  absl::Duration copies_waited_;  // since the last copy ended, with nothing else to do
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_TRANSFER_H_
