#include "tests/bench/rounds.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <string>

#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd::bench {
namespace {

constexpr int kTriesMax = 5;

absl::StatusOr<Sample> RunOnce(const Arm& arm) {
  RETURN_IF_ERROR(PrepareCache(*arm.files, arm.cache));
  ASSIGN_OR_RETURN(Sample sample, arm.run());
  if (arm.cache == CacheState::kCold) {
    ASSIGN_OR_RETURN(sample.cache_added_fraction, CachedFraction(*arm.files));
  }
  return sample;
}

// UNAVAILABLE is a run that did not go as meant (the kernel took pages back, or had none to give):
// no sample of its arm, and said so.
absl::StatusOr<Sample> RunUntilItCounts(const Arm& arm) {
  absl::StatusOr<Sample> sample = RunOnce(arm);
  for (int i = 1; i < kTriesMax && absl::IsUnavailable(sample.status()); ++i) {
    std::fprintf(stderr, "%s again: %s\n", arm.name.c_str(),
                 std::string(sample.status().message()).c_str());
    sample = RunOnce(arm);
  }
  return sample;
}

}  // namespace

absl::StatusOr<std::vector<Row>> RunRounds(absl::Span<const Arm> arms,
                                           const RoundOptions& options) {
  std::mt19937_64 random(options.seed);
  std::vector<const Arm*> order;
  for (const Arm& arm : arms) order.push_back(&arm);
  std::vector<Row> rows;
  const bool tells = ::isatty(STDERR_FILENO) == 1;
  for (int round = options.untimed_round ? 0 : 1; round <= options.rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const Arm* arm : order) {
      if (tells) {
        std::fprintf(stderr, "\rround %d of %d: %-28s", round, options.rounds, arm->name.c_str());
      }
      const absl::StatusOr<Sample> sample = RunUntilItCounts(*arm);
      if (!sample.ok()) return Annotate(sample.status(), arm->name);
      if (round > 0) rows.push_back({.round = round, .arm = arm->name, .sample = *sample});
    }
  }
  if (tells) std::fprintf(stderr, "\r%60s\r", "");
  return rows;
}

}  // namespace weightd::bench
