#ifndef WEIGHTD_TESTS_BENCH_STAGE_ARMS_H_
#define WEIGHTD_TESTS_BENCH_STAGE_ARMS_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/device/device.h"
#include "daemon/staging/stager.h"
#include "tests/bench/bench_files.h"
#include "tests/bench/sample.h"

// The product's own read path, as the daemon runs it. Thread-compatible.

namespace weightd::bench {

// Which way the bytes are read.
enum class ForcedMode { kNone, kDirect, kBuffered };

struct StageSetup {
  Stager* stager = nullptr;
  Device* device = nullptr;
  // Memory that exists, large enough; null: an allocation of the stage's own, which is in the time.
  Allocation* destination = nullptr;
  ForcedMode mode = ForcedMode::kNone;
  // The way all bytes must have gone: a cold stage that met cached pages is no cold one.
  ForcedMode expected = ForcedMode::kNone;
  // Whether opening the files and parsing their headers is in the time.
  bool time_opening = true;
  // stage_bench measures the reading alone.
  VerifyMode verify = VerifyMode::kNone;
  // Seals an allocation of its own, as publishing does.
  bool seal = true;
};

struct StageResult {
  Sample sample;
  std::unique_ptr<Allocation> allocation;  // of its own
};

// One stage from opening the files to sealed memory, as StageRunner does it: headers are read and
// checked, the layout planned, memory allocated, blocks read, files compared with what they were.
absl::StatusOr<StageResult> TimeStage(const FileSet& files, const StageSetup& setup);

// Reads each tensor with a read of its own, with our engine as a stage does it otherwise: io_uring,
// O_DIRECT, registered buffers, 16 reads in flight. Opening and headers are left out.
absl::StatusOr<Sample> TimeTensorReads(const FileSet& files);

// A stager for one device. `engine` is not exchanged for another.
struct StagerSetup {
  ReadEngine engine = ReadEngine::kUring;
  // 0 is the product's.
  uint64_t block_bytes = 0;
  uint32_t depth = 0;
  uint32_t slot_count = 0;
};
absl::StatusOr<std::unique_ptr<Stager>> CreateStager(const StagerSetup& setup, Device& device);

// What a stager goes without on this machine, a sentence each.
void AddFallbacks(const Stager& stager, std::set<std::string>& fallbacks);

// The same with staging buffers of 4 KiB pages. FAILED_PRECONDITION where reserved huge pages are
// free, and when the kernel gave huge ones all the same.
absl::StatusOr<std::unique_ptr<Stager>> CreateSmallPageStager(Device& device);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_STAGE_ARMS_H_
