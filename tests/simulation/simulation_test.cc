// The residency, staging and lease code under a seeded scheduler: see World. A failing seed is
// printed, and does the same again:
//
//   WEIGHTD_SIMULATION_SEED=7 build/dev/tests/simulation_test
//   WEIGHTD_SIMULATION_STEPS=100000000 build/dev/tests/simulation_test   more, from all seeds

#include <cstdlib>
#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/simulation/world.h"

namespace weightd::testing {
namespace {

// In all, shared by the parts: CTest runs them side by side.
constexpr uint64_t kSteps = 1'000'000;
constexpr uint64_t kParts = 4;
// A world is given up after so many, and the next seed begins.
constexpr uint64_t kStepsOfAWorld = 25'000;
constexpr uint64_t kStepsBetweenRests = 2'500;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

// Tasks stand in the middle of something: there is no way to end them.
void ExitAtViolation(const World& world, uint64_t seed, uint64_t step) {
  if (world.violation().empty()) return;
  std::cerr << "seed " << seed << ", step " << step << ": " << world.violation() << "\n"
            << world.Describe() << std::endl;
  std::_Exit(1);
}

void RunSeed(uint64_t seed, std::map<std::string, uint64_t>& counts) {
  World world(seed);
  for (uint64_t step = 1; step <= kStepsOfAWorld; ++step) {
    world.Step();
    if (step % kStepsBetweenRests == 0 && world.violation().empty()) world.Quiesce();
    ExitAtViolation(world, seed, step);
  }
  world.End();
  ExitAtViolation(world, seed, kStepsOfAWorld);
  for (const auto& [name, count] : world.counts()) counts[name] += count;
}

class SimulationTest : public ::testing::TestWithParam<uint64_t> {};

TEST_P(SimulationTest, InvariantsHoldAfterEveryStep) {
  std::map<std::string, uint64_t> counts;
  const uint64_t only = FromEnvironment("WEIGHTD_SIMULATION_SEED", 0);
  const uint64_t worlds =
      FromEnvironment("WEIGHTD_SIMULATION_STEPS", kSteps) / kParts / kStepsOfAWorld;
  for (uint64_t i = 0; i < worlds; ++i) {
    const uint64_t seed = 1 + GetParam() + i * kParts;
    if (only != 0 && seed != only) continue;
    // Before it runs, for a check that ends the process.
    std::cerr << "seed " << seed << std::endl;
    RunSeed(seed, counts);
  }
  for (const auto& [name, count] : counts) std::cerr << "  " << name << " " << count << std::endl;
  if (only != 0) return;
  // It has been everywhere.
  for (const char* name : {"stage_done",
                           "stage_failed",
                           "stage_refused",
                           "evicted",
                           "demoted",
                           "superseded",
                           "lease_granted",
                           "lease_ended",
                           "lease_revoked",
                           "joined",
                           "attached",
                           "granted after waiting",
                           "refused: LIMIT_EXCEEDED",
                           "cancelled",
                           "refused: HANDLE_UNUSABLE",
                           "refused: DEVICE_FAILED",
                           "refused: CHECKPOINT_CHANGED",
                           "hangs",
                           "stuck",
                           "booked while stuck",
                           "threads left",
                           "verified by a client"}) {
    EXPECT_GT(counts[name], 0) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Parts, SimulationTest, ::testing::Range(uint64_t{0}, kParts));

}  // namespace
}  // namespace weightd::testing
