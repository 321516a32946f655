#ifndef WEIGHTD_DAEMON_STAGING_TRANSFER_H_
#define WEIGHTD_DAEMON_STAGING_TRANSFER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/executor.h"
#include "daemon/staging/block_plan.h"
#include "daemon/staging/mode_choice.h"
#include "daemon/staging/rate_limit.h"
#include "daemon/staging/stage_input.h"
#include "daemon/staging/staging_pool.h"
#include "daemon/storage/read_queue.h"

// One job on its way: blocks are read, copied where they do not land in place, and counted.
//
//   plan --SubmitNext--> reading --(congruent)--OnRead------------------> in place
//                           |------(else)-------OnRead--> copying --Poll----^
//
// Meanwhile its bytes are digested, where that is wanted; those of an encrypted file before they
// are copied, since that decrypts them.
// What is scattered into host memory is copied by whoever digests it.
//
// It moves when ReadLoop says so. After an error or a cancel nothing new begins, and it has ended
// when nothing is in flight. One whose reads do not come back then is to be abandoned: whoever
// waits is told, and what the reads write to is kept until they do.
//
// Thread-compatible, used once. Files, pool, destinations and executor outlive it. Times are the
// executor's.

namespace weightd {

class Transfer {
 public:
  // Why SubmitNext did nothing, or that it did.
  enum class Submitted {
    kYes,
    kCopies,       // it needed no read, and is being copied
    kNothingLeft,  // all blocks were submitted, or it failed
    kNoSlot,       // a copy must end first
    kNoPages,      // the destination's pages are not made yet
    kNoFile,       // its file is not open yet
    kNotYet,       // its bandwidth is used up: see free_at()
  };

  // `copies` are of the targets' devices, like them.
  Transfer(const StageInput& input, uint64_t block_bytes, StagingPool& pool,
           std::vector<std::unique_ptr<CopyQueue>> copies, Executor& executor);
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer();

  // Submits the next block to `reads`, with `tag`; the completion goes to OnRead.
  Submitted SubmitNext(ReadQueue& reads, uint64_t tag, absl::Time now);
  // Reads of others, or its volume's that hang, leave none to it for now.
  void OnNoShare(absl::Time now);
  void OnRead(const ReadDone& done, absl::Time now);
  // Takes copies and digests that have ended, waiting for one up to `timeout`. Fails the transfer
  // when no copy ends for `stall_timeout`, or it waits so long for its first slot or read.
  void Poll(absl::Duration timeout, absl::Duration stall_timeout, absl::Time now);
  // Nothing new begins. The first status counts.
  void Fail(absl::Status status);
  // Likewise, and what is in flight in the read queue is lost: the queue broke, and is destroyed.
  void LoseReads(const absl::Status& status);
  // It has failed and its reads do not come back: at once when one is stuck, else after `patience`.
  bool ShouldBeAbandoned(absl::Time now, absl::Duration patience) const;
  // Nobody waits for it any more: it tells no progress, and has no share of the pool.
  void Abandon();
  // Once it has failed: see StageInput::on_abandoned. It writes to less and less.
  std::vector<std::optional<KeptParts>> Kept() const;
  // Likewise: lets manifest and layout go, unless something but reads goes on. Whether it did.
  bool LetPlanGo();
  // Fails it if it was cancelled.
  void CheckCancelled();

  // Bytes that reads brought since the last call.
  uint64_t TakeBytesRead() { return std::exchange(bytes_read_, 0); }
  // Passes on how many bytes are in place, if that changed.
  void ReportProgress();

  // Without those that are stuck.
  uint32_t reads_in_flight() const { return reads_in_flight_; }
  // What it waits for, of reads alone; `age` is left alone.
  StuckStage stuck() const;
  uint32_t copies_in_flight() const;
  // Copies and digests.
  bool is_working() const;
  absl::Time free_at() const { return rate_.free_at(); }
  // Everything is in place, or it failed and nothing is in flight.
  bool ended() const;
  const absl::Status& status() const { return status_; }

  // Once ended well, and from any one thread: moves what must be moved and waits for it.
  absl::StatusOr<StageOutcome> Finish();

 private:
  struct InFlight {
    Block block;
    int32_t slot = -1;
    ModeChoice choice;
    uint64_t sequence = 0;   // of the blocks that are read
    size_t copies_left = 0;  // pieces that are not where they belong yet, on all targets
    bool is_reading = false;
    bool is_digesting = false;
    bool must_copy = false;  // once it is digested
  };

  // Whether the file of the next block is open; those of the blocks after it are wished for, too.
  absl::StatusOr<bool> FileReady(uint32_t shard_index);
  // Lets the files go that nothing is read from any more.
  void LetFilesGo();
  ModeChoice ChoiceFor(const Block& block);
  absl::StatusOr<bool> DestinationReady(const Block& block) const;
  ReadRequest RequestFor(const Block& block, int32_t slot, const ModeChoice& choice,
                         uint64_t tag) const;
  // The host memory of a target that `flight` still writes to.
  void AddKept(const InFlight& flight, size_t target, KeptParts& parts) const;
  void StartCopies(InFlight& flight, uint64_t tag, absl::Time now);
  absl::Status SubmitCopies(InFlight& flight, uint64_t tag);
  // Starts the copies of a block of zeros.
  void StartZeros(const Block& block, int32_t slot, uint64_t tag, absl::Time now);
  void OnCopied(uint64_t tag, absl::Time now);
  void OnDigested(uint64_t tag, absl::Time now);
  void PollDigests(absl::Duration timeout, absl::Time now);
  void CheckWaits(absl::Duration stall_timeout, absl::Time now);
  void PollCopies(absl::Duration timeout, absl::Duration stall_timeout, absl::Time now);
  // Counts it and gives its buffer back, if nothing is left to be done with it.
  void EndIfDone(uint64_t tag);
  // The bytes that are wanted, where they were read to.
  absl::Span<std::byte> WantedBytes(const InFlight& flight) const;
  bool IsEncrypted(const Block& block) const;
  // Where the digester puts what it has looked at: into host memory as the only target. Empty:
  // copies do that.
  absl::Span<std::byte> DigesterCopiesTo(const InFlight& flight) const;
  // Waits for everything submitted to any target; the first error.
  absl::Status FinishCopies();
  std::string TargetsText() const;
  void CountInPlace(const InFlight& flight);
  // The staging buffer for `block`: kInPlace if it needs none, nothing if it must wait.
  std::optional<int32_t> TakeSlotFor(const Block& block);
  void GiveSlot(int32_t slot);

  StageInput input_;
  StagingPool& pool_;
  StagingPool::Holder* const holder_;  // until it is abandoned
  Executor& executor_;
  const std::vector<std::unique_ptr<CopyQueue>> copies_;
  std::optional<BlockPlan> plan_;  // until LetPlanGo()
  std::optional<Block> next_;
  std::unique_ptr<Digester> digester_;  // none: nothing to look at
  uint64_t next_sequence_ = 0;
  RateLimit rate_;
  // The window that the last block lay in: blocks come in the order of the file.
  std::optional<std::pair<uint32_t, uint64_t>> window_;  // shard, number
  ModeChoice window_choice_;
  // By shard: files that are read, and those that will be next.
  struct OpenFile {
    std::unique_ptr<FileUse> use;
    uint32_t reads = 0;  // in flight
  };
  std::map<uint32_t, OpenFile> open_files_;
  absl::flat_hash_map<uint64_t, InFlight> in_flight_;  // by tag, reading or copying
  uint32_t reads_in_flight_ = 0;
  uint32_t reads_stuck_ = 0;
  std::optional<std::pair<uint32_t, uint64_t>> first_stuck_;  // shard, offset
  absl::Time failed_time_ = absl::InfiniteFuture();
  bool abandoned_ = false;
  uint32_t slots_held_ = 0;
  absl::Time no_slot_time_ = absl::InfiniteFuture();   // since when it has none and waits for one
  absl::Time no_share_time_ = absl::InfiniteFuture();  // likewise, of reads
  uint64_t bytes_read_ = 0;
  uint64_t bytes_done_ = 0;
  uint64_t bytes_reported_ = 0;
  absl::Time last_copy_time_ = absl::InfinitePast();  // when one ended or the first began
  absl::Time start_time_ = absl::InfinitePast();
  absl::Time last_read_time_ = absl::InfinitePast();
  StageOutcome outcome_;
  absl::Status status_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_TRANSFER_H_
