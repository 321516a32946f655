#ifndef WEIGHTD_DAEMON_STAGING_STAGER_H_
#define WEIGHTD_DAEMON_STAGING_STAGER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "daemon/device/device.h"
#include "daemon/format/manifest.h"
#include "daemon/staging/layout.h"
#include "daemon/staging/staging_pool.h"
#include "daemon/storage/read_queue.h"

// Reads the files of one checkpoint into one allocation: one job's data path.
//
// Thread-compatible: one worker thread owns a Stager, its ring and its staging buffers, and runs
// one job after another on it.

namespace weightd {

struct StagerOptions {
  uint64_t block_bytes = uint64_t{4} << 20;  // one read, and one staging buffer; 2 MiB..64 MiB
  uint32_t depth = 16;                       // reads in flight, 1..1024
  uint32_t slot_count = 16;                  // staging buffers, 1..1024
  ReadQueueOptions read_queue;               // depth and slots are filled in from the above

  absl::Status Validate() const;
};

struct StageInput {
  const Manifest* manifest = nullptr;
  absl::Span<const std::shared_ptr<File>> files;  // like manifest->shards
  const Layout* layout = nullptr;
  Device* device = nullptr;
  Allocation* destination = nullptr;
};

struct StageOutcome {
  uint64_t bytes_read = 0;  // of data sections
  bool direct = true;       // every block was read with O_DIRECT
  std::vector<std::string> fallbacks;
  uint64_t tensors_moved = 0;
};

class Stager {
 public:
  // Makes the staging buffers, pins them for each of `devices`, and opens the read queue.
  static absl::StatusOr<std::unique_ptr<Stager>> Create(const StagerOptions& options,
                                                        std::vector<Device*> devices);
  // For tests: on a given queue, whose slots are `pool`'s.
  Stager(const StagerOptions& options, std::unique_ptr<StagingPool> pool,
         std::unique_ptr<ReadQueue> queue, std::vector<Device*> devices);
  Stager(const Stager&) = delete;
  Stager& operator=(const Stager&) = delete;
  ~Stager();

  // Reads everything; returns when the allocation holds every byte, moves included, or with the
  // first error after all reads and copies in flight have ended, so that the caller may free the
  // allocation. `progress` is called with the bytes in place so far, after every few blocks.
  // CANCELLED/CANCELLED soon after `cancelled` becomes true; DEADLINE_EXCEEDED when reads or copies
  // make no progress for the read queue's stall_timeout.
  absl::StatusOr<StageOutcome> Run(const StageInput& input, const std::atomic<bool>& cancelled,
                                   absl::FunctionRef<void(uint64_t bytes_done)> progress);

  // False after a Run whose reads could not be ended: the kernel may still write to the
  // destination. Destroy the Stager, which waits for them, before the allocation.
  bool usable() const { return queue_->in_flight() == 0; }

  ReadEngine engine() const { return queue_->engine(); }
  const std::vector<std::string>& fallbacks() const { return queue_->fallbacks(); }
  const StagingPool& pool() const { return *pool_; }

 private:
  StagerOptions options_;
  std::unique_ptr<StagingPool> pool_;
  std::vector<Device*> devices_;
  std::unique_ptr<ReadQueue> queue_;  // goes before the buffers that are registered with it
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_STAGER_H_
