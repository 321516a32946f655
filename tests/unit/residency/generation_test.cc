#include "daemon/residency/generation.h"

#include <set>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weightd::testing {
namespace {

using State = ResidencyState;

const std::vector<State> kAll = {State::kStaging,  State::kResident, State::kRevoking,
                                 State::kDemoting, State::kEvicting, State::kFailed,
                                 State::kGone};

TEST(GenerationTest, OnlyTheMovesOfTheTableAreLegal) {
  const std::set<std::pair<State, State>> legal = {
      {State::kStaging, State::kResident},  {State::kStaging, State::kFailed},
      {State::kResident, State::kRevoking}, {State::kRevoking, State::kEvicting},
      {State::kResident, State::kDemoting}, {State::kDemoting, State::kEvicting},
      {State::kResident, State::kEvicting}, {State::kEvicting, State::kGone},
      {State::kFailed, State::kGone}};
  for (const State from : kAll) {
    for (const State to : kAll) {
      EXPECT_EQ(CanMove(from, to), legal.contains({from, to}))
          << ResidencyStateName(from) << " to " << ResidencyStateName(to);
    }
  }
}

// 870,000 tensors of a byte are 0.9 MB on the device, and 166 MiB of names and places.
TEST(GenerationTest, TableOfManyTensorsIsBooked) {
  Manifest manifest;
  TensorEntry entry;
  entry.name = "model.layers.0.weight";
  manifest.tensors.assign(2000, entry);
  EXPECT_EQ(BookedTableBytes(manifest), 0);
  entry.name = std::string(100, 'n');
  manifest.tensors.assign(100'000, entry);
  const uint64_t least = 100'000 * (sizeof(TensorEntry) + 100) - kFreeTableBytes;
  EXPECT_GE(BookedTableBytes(manifest), least);
  EXPECT_LE(BookedTableBytes(manifest), 2 * least);
  manifest.tensors.clear();
  manifest.metadata["k"] = std::string(5 << 20, 'v');
  EXPECT_GE(BookedTableBytes(manifest), 4 << 20);
}

TEST(GenerationTest, EveryStateHasAName) {
  std::set<absl::string_view> names;
  for (const State state : kAll) names.insert(ResidencyStateName(state));
  EXPECT_EQ(names.size(), kAll.size());
  EXPECT_FALSE(names.contains("UNKNOWN"));
}

TEST(GenerationTest, RateIsBytesPerSecondOfReading) {
  StageReport report;
  report.direct_bytes = 2000;
  report.cached_bytes = 1000;
  EXPECT_EQ(report.bytes_per_second(), 0);
  report.read_time = absl::Milliseconds(1500);
  EXPECT_EQ(report.bytes_per_second(), 2000);
  report.read_time = -absl::Seconds(1);  // the clock was set back
  EXPECT_EQ(report.bytes_per_second(), 0);
}

}  // namespace
}  // namespace weightd::testing
