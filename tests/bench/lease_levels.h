#ifndef WEIGHTD_TESTS_BENCH_LEASE_LEVELS_H_
#define WEIGHTD_TESTS_BENCH_LEASE_LEVELS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/bench/daemon_memory.h"

namespace weightd::bench {

struct LevelOptions {
  uint64_t leases = 1000;  // of the largest level, 100..10000
  uint64_t samples = 200;  // attaches that are timed at each level
  uint64_t grants = 2000;  // attaches of a burst, of all its clients
  uint64_t parallel = 8;   // clients of a burst
  uint64_t holders = 8;    // processes that hold the leases
  uint64_t tensors = 300;  // of the model
  std::string program{};   // see WorkerSetup
  // A second root, whose volume does not answer the reads of its models h00 and h01: see
  // tests/integration/drain/hung_fuse.py. Empty: none.
  std::string hung_root{};
  absl::Status Validate() const;

  // 1, 10, 100 and so on below `leases`, then `leases`.
  std::vector<uint64_t> levels() const;
};

// At one number of held leases.
struct LevelSample {
  uint64_t held = 0;
  DaemonMemory memory;  // when the level was reached, before anything else attached
  std::vector<double> attach_ms;
  double grants_per_s = 0;
};

// One life of a daemon.
struct RoundSample {
  std::vector<LevelSample> levels;  // from the smallest to the largest
  DaemonMemory idle;                // no lease, after the warm-up
  DaemonMemory dropped;             // no lease any more, after the largest level
  DaemonMemory regrown;             // the largest level, reached once more
  uint64_t leases_left = 0;         // that the daemon lists after the last was dropped
  // With a hung root, without leases: attaches before anything is read from it, and while every
  // stage that may run at once hangs in it.
  std::vector<double> idle_attach_ms;
  std::vector<double> hung_attach_ms;

  // Anonymous memory from the smallest to the largest level, by leases.
  double bytes_per_lease() const;
};

// Starts a daemon, warms it up (2,000 attaches, a few at once), visits the levels from the
// smallest to the largest, drops all leases, reaches the largest level again, drops them again.
absl::StatusOr<RoundSample> MeasureRound(const LevelOptions& options);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_LEASE_LEVELS_H_
