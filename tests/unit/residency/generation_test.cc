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
