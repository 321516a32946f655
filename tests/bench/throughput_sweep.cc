#include "tests/bench/throughput_sweep.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/status_macros.h"
#include "tests/bench/null_device.h"
#include "tests/bench/rounds.h"
#include "tests/bench/stage_arms.h"
#include "tests/bench/statistics.h"

namespace weightd::bench {
namespace {

constexpr uint64_t kBlocks[] = {2 * kMiB, 4 * kMiB, 8 * kMiB, 16 * kMiB};
constexpr uint32_t kDepths[] = {1, 2, 4, 8, 16, 32};
constexpr uint64_t kBuffersMax = uint64_t{32} * (16 * kMiB);

std::string NameOf(const SweepPoint& point) {
  return absl::StrCat("block ", point.block_bytes / kMiB, " MiB, depth ", point.depth);
}

// Staging buffers of all points together would take gigabytes: each makes its own, untimed.
absl::StatusOr<Sample> TimePoint(const FileSet& files, const SweepPoint& point, Device& device) {
  ASSIGN_OR_RETURN(const auto stager, CreateStager({.block_bytes = point.block_bytes,
                                                    .depth = point.depth,
                                                    .slot_count = point.depth},
                                                   device));
  ASSIGN_OR_RETURN(const StageResult result, TimeStage(files, {.stager = stager.get(),
                                                               .device = &device,
                                                               .expected = ForcedMode::kDirect}));
  return result.sample;
}

}  // namespace

absl::StatusOr<std::vector<SweepPoint>> RunSweep(const FileSet& files, int rounds, uint64_t seed,
                                                 HugePageReserve& huge_pages) {
  RETURN_IF_ERROR(huge_pages.Reserve(kBuffersMax));
  const std::unique_ptr<Device> device = CreateNullDevice();
  std::vector<SweepPoint> points;
  for (const uint64_t block_bytes : kBlocks) {
    for (const uint32_t depth : kDepths) points.push_back({block_bytes, depth, 0});
  }
  std::vector<Arm> arms;
  arms.reserve(points.size());
  for (const SweepPoint& point : points) {
    arms.push_back({.name = NameOf(point),
                    .files = &files,
                    .cache = CacheState::kCold,
                    .run = [&files, &device, point] { return TimePoint(files, point, *device); }});
  }
  ASSIGN_OR_RETURN(const std::vector<Row> rows, RunRounds(arms, {.rounds = rounds, .seed = seed}));
  for (SweepPoint& point : points) {
    std::vector<double> values;
    for (const Row& row : rows) {
      if (row.arm == NameOf(point)) values.push_back(row.sample.bytes_per_second());
    }
    point.bytes_per_second = Quantile(values, 0.5);
  }
  return points;
}

Plot SweepPlot(absl::Span<const SweepPoint> points) {
  Plot plot = {.title = "Cold reads into staging buffers",
               .subtitle = "",
               .x_label = "reads in flight, at most",
               .y_label = "GB/s",
               .series = {}};
  for (const SweepPoint& point : points) {
    const std::string label = absl::StrCat(point.block_bytes / kMiB, " MiB blocks");
    if (plot.series.empty() || plot.series.back().label != label) {
      plot.series.push_back({.label = label, .points = {}});
    }
    plot.series.back().points.emplace_back(point.depth, point.bytes_per_second / 1e9);
  }
  return plot;
}

}  // namespace weightd::bench
