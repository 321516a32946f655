#ifndef WEIGHTD_TESTS_BENCH_ROUNDS_H_
#define WEIGHTD_TESTS_BENCH_ROUNDS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tests/bench/bench_files.h"
#include "tests/bench/sample.h"

namespace weightd::bench {

// One way to do a thing that is compared with others.
struct Arm {
  std::string name;
  const FileSet* files = nullptr;              // what it reads
  CacheState cache = CacheState::kIrrelevant;  // of these files before each run
  std::function<absl::StatusOr<Sample>()> run;
};

struct Row {
  int round = 0;
  std::string arm;
  Sample sample;
};

struct RoundOptions {
  int rounds = 15;
  uint64_t seed = 1;  // of the order of arms within rounds
  // One round more before them that does not count: on a virtual machine memory that was never
  // touched costs the hypervisor seconds.
  bool untimed_round = true;
};

// Runs every arm once in each round, in an order of the round's own, so that what disturbs a round
// disturbs all arms alike. Tells a terminal on stderr how far it is. The first error ends it.
absl::StatusOr<std::vector<Row>> RunRounds(absl::Span<const Arm> arms, const RoundOptions& options);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_ROUNDS_H_
