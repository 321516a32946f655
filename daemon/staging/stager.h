#ifndef WEIGHTD_DAEMON_STAGING_STAGER_H_
#define WEIGHTD_DAEMON_STAGING_STAGER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/executor.h"
#include "daemon/device/device.h"
#include "daemon/staging/copy_run.h"
#include "daemon/staging/reader.h"
#include "daemon/staging/reads_in_flight.h"
#include "daemon/staging/stage_input.h"
#include "daemon/staging/staging_pool.h"
#include "daemon/storage/read_queue.h"

// The read path: from the files of a checkpoint into one allocation.
//
//   volume A ── reader A,GPU0 ─┐
//   volume B ── reader B,GPU0 ─┴─ staging buffers of GPU0 ── copies ── GPU0
//   volume A ── reader A,host ──────────────(in place)────────────── host memory
//
// Staging buffers are made, touched and pinned once, at the start, each pool for every GPU, since a
// stage to several goes through the buffers of one; a reader is made when a volume is first read
// for a device. Thread-safe.

namespace weightd {

struct StagerOptions {
  uint64_t block_bytes = uint64_t{8} << 20;  // one read, and one staging buffer; 2 MiB..64 MiB
  // Reads in flight of one volume, at most; 0 takes 64 MiB of blocks on a local volume and 512 MiB
  // on a network's. Fewer are in flight where fewer suffice (DepthControl). 0..1024.
  uint32_t depth = 0;
  // Bytes of all volumes in flight into host memory, at most, but for one read of each; an eighth
  // of them of one volume where `depth` is 0. They are what volumes that hang keep of it. Where
  // they are few, reads are shorter than `block_bytes`.
  uint64_t host_bytes_in_flight_max = UINT64_MAX;
  uint32_t slot_count = 12;  // staging buffers of one GPU, 1..1024
  // Of host memory: for .tensors files (layout.h), 1..1024. Eight reads in flight, and as many that
  // are digested and copied.
  uint32_t host_slot_count = 16;
  ReadQueueOptions read_queue;  // depth and slots are filled in from the above
  // Host memory that was filled is pinned for the GPUs, so that they copy it at the bus's speed.
  bool pin_host_memory = true;
  // Makes a read queue; for tests. Null is CreateReadQueue.
  std::function<absl::StatusOr<std::unique_ptr<ReadQueue>>(const ReadQueueOptions&)> make_queue;

  absl::Status Validate() const;
};

// Reads in flight that fill a volume, in blocks.
uint32_t DefaultDepth(uint64_t block_bytes, bool is_remote);
// As many buffers, and some for what was read and is being digested: without these, reads wait for
// digests (format_bench).
uint32_t DefaultSlotCount(uint64_t block_bytes, bool is_remote);

class Stager {
 public:
  // Makes the staging buffers of each of `devices` and the reader from a local volume to the first,
  // so that what cannot work shows now. `executor` and the devices outlive it.
  static absl::StatusOr<std::unique_ptr<Stager>> Create(const StagerOptions& options,
                                                        std::vector<Device*> devices,
                                                        Executor& executor);
  Stager(const Stager&) = delete;
  Stager& operator=(const Stager&) = delete;
  ~Stager();

  // See Reader::Run. The devices are of those given to Create(). UNAVAILABLE/VOLUME_STUCK when too
  // many readers hang.
  absl::StatusOr<StageOutcome> Run(const StageInput& input, bool* abandoned)
      ABSL_LOCKS_EXCLUDED(mu_);

  // What was abandoned and has not come back.
  std::vector<StuckStage> stuck() const ABSL_LOCKS_EXCLUDED(mu_);
  // For a moment, of who waits for that.
  void Pause() { executor_.Sleep(absl::Milliseconds(100)); }

  // Copies a sealed allocation to others, on this thread: see CopyRun.
  absl::StatusOr<CopyOutcome> Copy(const CopyInput& input);

  // Pins a sealed allocation of `owner` for the GPUs, where it is the host, there are GPUs and the
  // options say so. An error means that copies of it go through staging buffers, and says so.
  absl::Status Pin(const Device& owner, std::shared_ptr<Allocation>& allocation) const;

  ReadEngine engine() const { return first_reader_->engine(); }
  const Warnings& fallbacks() const { return first_reader_->fallbacks(); }
  uint64_t pool_bytes() const;
  PageKind page_kind() const { return pools_.begin()->second->page_kind(); }

 private:
  // Which reader: the numbers of all volumes that the files lie on (mounts below a root, links), so
  // that one that hangs holds up only who reads it, whether one is a network's, and the device.
  struct Key {
    std::set<uint64_t> volumes = {};
    bool is_remote = false;
    Device* device = nullptr;
    // clang-tidy 14 takes the operator for a 0.
    friend auto operator<=>(const Key&, const Key&) = default;  // NOLINT(modernize-use-nullptr)
  };

  Stager(const StagerOptions& options, std::vector<Device*> devices, Executor& executor);
  absl::Status MakePools();
  absl::StatusOr<std::shared_ptr<Reader>> ReaderFor(const StageInput& input)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Takes out those that are no use any more, for the caller to destroy without the lock.
  std::vector<std::shared_ptr<Reader>> TakeUnused(const Key& wanted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<std::shared_ptr<Reader>> AllReaders() const ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::unique_ptr<Reader>> MakeReader(const Key& key);

  const StagerOptions options_;
  const std::vector<Device*> devices_;
  Executor& executor_;
  ReadsInFlight host_reads_;
  std::map<Device*, std::unique_ptr<StagingPool>> pools_;  // fixed once Create() returns
  std::shared_ptr<Reader> first_reader_;                   // likewise

  mutable absl::Mutex mu_;
  std::map<Key, std::shared_ptr<Reader>> readers_ ABSL_GUARDED_BY(mu_);
  // Of which the thread did not come back: another one took their place.
  std::vector<std::shared_ptr<Reader>> hanging_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_STAGER_H_
