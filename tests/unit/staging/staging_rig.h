#ifndef WEIGHTD_TESTS_UNIT_STAGING_STAGING_RIG_H_
#define WEIGHTD_TESTS_UNIT_STAGING_STAGING_RIG_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/staging/reader.h"
#include "tests/support/device/memory_device.h"
#include "tests/support/storage/faulty_read_queue.h"
#include "tests/support/storage/memory_read_queue.h"
#include "tests/support/storage/memory_volume.h"
#include "tests/unit/staging/test_hashes.h"
#include "tests/unit/staging/test_manifest.h"

namespace weightd::testing {

struct RigOptions {
  // Smaller than the product allows: more blocks per byte.
  uint64_t block_bytes = uint64_t{16} << 10;
  uint32_t depth = 4;
  uint32_t slot_count = 3;
  uint32_t direct_alignment = 512;
  absl::Duration stall_timeout = absl::Seconds(60);
  MemoryDeviceOptions device = {};
  MemoryReadQueueOptions reads = {};
  VerifyMode verify = VerifyMode::kNone;
  bool encrypted = false;   // .tensors shards, with hashes
  QueueFaults faults = {};  // of the first queue; one that takes its place has none
};

// A Reader on files, reads and a device in memory. Thread-compatible.
class StagingRig {
 public:
  explicit StagingRig(const RigOptions& options, Manifest manifest);
  ~StagingRig();

  // Plans, allocates and runs.
  absl::StatusOr<StageOutcome> Run();
  // Whether the allocation holds every tensor of the files.
  bool Equal() const;

  MemoryVolume& volume() { return volume_; }
  MemoryDevice& device() { return device_; }
  // Whether the last run was abandoned.
  bool abandoned() const { return abandoned_; }
  // Of the last run, where it was abandoned.
  const std::optional<KeptParts>& kept_parts() const { return kept_parts_; }
  absl::Span<std::byte> host_memory() const { return allocation_->host_memory(); }
  // Whether somebody still holds what the last run wrote to.
  bool kept() const { return !kept_.expired(); }
  // Likewise manifest and layout.
  bool kept_plan() const { return !kept_plan_.expired(); }
  bool says_plan_kept() const { return says_plan_kept_; }
  std::vector<StuckStage> stuck() const { return reader_->stuck(); }
  StagingPool& pool() { return *pool_; }
  uint32_t queues_made() const { return queues_made_; }
  const std::vector<uint64_t>& progress() const { return progress_; }
  void CancelAtBytes(uint64_t bytes) { cancel_at_bytes_ = bytes; }
  // Destroys the reader and then the allocation.
  void Destroy();

 private:
  absl::StatusOr<std::unique_ptr<ReadQueue>> MakeQueue();

  const RigOptions options_;
  Manifest manifest_;
  ShardContents contents_;  // not encrypted
  MemoryVolume volume_;
  MemoryDevice device_;
  std::unique_ptr<StagingPool> pool_;
  std::unique_ptr<Reader> reader_;
  uint32_t queues_made_ = 0;
  bool abandoned_ = false;
  std::optional<KeptParts> kept_parts_;
  std::weak_ptr<const void> kept_;
  std::weak_ptr<const void> kept_plan_;
  bool says_plan_kept_ = true;
  std::vector<std::shared_ptr<File>> files_;
  Layout layout_;
  std::unique_ptr<Allocation> allocation_;
  std::atomic<bool> cancelled_ = false;
  std::optional<uint64_t> cancel_at_bytes_;
  std::vector<uint64_t> progress_;
};

// Two shards of some 100 kB and 50 kB, with tensors, an empty one and one to move.
Manifest ExampleManifest();

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_STAGING_STAGING_RIG_H_
