#ifndef WEIGHTD_DAEMON_STAGING_COPY_RUN_H_
#define WEIGHTD_DAEMON_STAGING_COPY_RUN_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/executor.h"
#include "daemon/device/device.h"
#include "daemon/staging/stage_input.h"
#include "daemon/staging/staging_pool.h"

// From one allocation to others: the host tier to a GPU (promotion), a GPU to the host tier
// (demotion), a GPU to another. No volume is read.

namespace weightd {

struct CopyInput {
  const Allocation* from = nullptr;  // sealed
  Device* from_device = nullptr;
  std::vector<StageTarget> targets;  // at least one, not sealed
  uint64_t bytes = 0;                // from the start
  const std::atomic<bool>* cancelled = nullptr;
  // Bytes that are in place on every target; called on the thread of Run().
  std::function<void(uint64_t bytes_done)> on_progress;
};

struct CopyOutcome {
  uint64_t bytes = 0;
  absl::Duration copy_time;
};

struct CopyRunOptions {
  uint64_t block_bytes = 0;      // of a staging buffer, at most
  absl::Duration stall_timeout;  // without any progress
};

// A queue for each target.
absl::StatusOr<std::vector<std::unique_ptr<CopyQueue>>> MakeCopyQueues(
    absl::Span<const StageTarget> targets);

// One such copy. GPUs take the blocks of pinned host memory by themselves; others go through
// staging buffers, of which it has its share, as a transfer has; to host memory alone they go
// straight. Used once, by one thread.
class CopyRun {
 public:
  // `pool` is pinned for every target that is a GPU. All outlive it.
  CopyRun(const CopyInput& input, StagingPool& pool, const CopyRunOptions& options,
          Executor& executor);
  CopyRun(const CopyRun&) = delete;
  CopyRun& operator=(const CopyRun&) = delete;
  ~CopyRun();

  // When it returns nothing is in flight any more, also after an error. CANCELLED/CANCELLED soon
  // after `cancelled` becomes true; DEADLINE_EXCEEDED/DEVICE_FAILED when nothing moves for the
  // stall timeout, be it that no staging buffer can be had.
  absl::StatusOr<CopyOutcome> Run();

 private:
  struct InFlight {
    std::optional<uint32_t> slot;  // none: from pinned memory
    uint64_t bytes = 0;
    size_t copies_left = 0;
  };

  absl::Status CopyBlocks();
  absl::Status CopyBlock(uint64_t offset, uint64_t bytes);
  absl::Status CopyToHost(uint64_t offset, uint64_t bytes);
  absl::Status CopyPinned(uint64_t offset, uint64_t bytes);
  absl::Status CopyThroughBuffer(uint64_t offset, uint64_t bytes, uint32_t slot);
  absl::Status Submit(uint64_t offset, absl::Span<const std::byte> from, InFlight& flight);
  // Waits until `condition` holds, taking copies that have ended meanwhile.
  absl::Status WaitFor(const char* what, absl::FunctionRef<absl::StatusOr<bool>()> condition);
  absl::StatusOr<bool> PagesReady(uint64_t end) const;
  absl::StatusOr<bool> TakeSlot(uint32_t& slot);
  absl::Status PollCopies(absl::Duration timeout);
  void OnCopied(uint64_t tag);
  absl::Status FinishCopies();
  void Progress(uint64_t bytes);
  void GiveSlot(const InFlight& flight);

  const CopyInput& input_;
  StagingPool& pool_;
  StagingPool::Holder* const holder_;
  const CopyRunOptions options_;
  Executor& executor_;
  const bool host_alone_;
  const bool pinned_;                                  // and every target is a GPU
  std::vector<std::unique_ptr<CopyQueue>> queues_;     // like the targets
  absl::flat_hash_map<uint64_t, InFlight> in_flight_;  // by tag, the offset
  uint32_t slots_held_ = 0;
  uint64_t bytes_done_ = 0;
  absl::Time last_progress_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_COPY_RUN_H_
