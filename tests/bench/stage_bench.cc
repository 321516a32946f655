// How fast checkpoints are read, against what the disk can do and against plain readers.
//
// Every round runs every arm once on the same files, in shuffled order; what the page cache holds
// of them is set and proven (cachestat) before each. A figure is the median over rounds of the
// ratio of two arms within a round, with a bootstrap interval. Host memory: no figure here is a
// GPU's.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "common/align.h"
#include "common/status_macros.h"
#include "tests/bench/arm_set.h"
#include "tests/bench/bench_files.h"
#include "tests/bench/figures.h"
#include "tests/bench/huge_pages.h"
#include "tests/bench/machine_facts.h"
#include "tests/bench/peak_memory.h"
#include "tests/bench/report.h"
#include "tests/bench/rounds.h"
#include "tests/bench/svg_plot.h"
#include "tests/bench/throughput_sweep.h"

namespace weightd::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kShards = 4;
constexpr uint64_t kSmallTensorCount = 20'000;
constexpr uint64_t kSmallTensorBytes = 16 * kKiB;
constexpr int kMemoryRoundsMax = 3;  // memory is no matter of chance
constexpr int kSweepRounds = 3;
// Of models whose peak memory is measured.
constexpr uint64_t kPeakFactors[] = {1, 4, 8};

struct Options : FigureOptions {
  std::string plot_path;

  uint64_t shard_bytes() const { return bytes / kShards; }
};

struct StageMeasured : Measured {
  std::vector<SweepPoint> sweep;
};

// Models of 1, 4 and 8 GiB; with --quick of 1, 4 and 8 shards.
absl::Status MeasurePeaks(const Options& options, std::vector<Row>& rows) {
  const uint64_t unit = options.quick ? 1 : std::max<uint64_t>(1, kGiB / options.shard_bytes());
  std::vector<FileSet> models;
  for (const uint64_t factor : kPeakFactors) {
    ASSIGN_OR_RETURN(FileSet files, MakeShards(options.dir, options.shard_bytes(), factor * unit));
    models.push_back(std::move(files));
  }
  std::vector<Arm> arms;
  for (const FileSet& files : models) {
    for (const auto& [device, name] :
         {std::pair(PeakDevice::kHost, "host"), std::pair(PeakDevice::kNull, "staging")}) {
      const PeakDevice kind = device;
      arms.push_back({.name = absl::StrCat("peak_", name, "_", files.bytes / kMiB, "mib"),
                      .files = &files,
                      .cache = CacheState::kCold,
                      .run = [&files, kind] { return MeasurePeak(files, kind); }});
    }
  }
  ASSIGN_OR_RETURN(
      rows,
      RunRounds(arms, {.rounds = options.quick ? 1 : std::min(options.rounds, kMemoryRoundsMax),
                       .seed = options.seed,
                       .untimed_round = false}));
  return absl::OkStatus();
}

absl::StatusOr<StageMeasured> Measure(const Options& options,
                                      absl::Span<const FigureSpec> figures) {
  StageMeasured measured;
  RETURN_IF_ERROR(CheckColdPossible(options.dir));
  std::fprintf(stderr, "files below %s, seed %llu\n", options.dir.c_str(),
               static_cast<unsigned long long>(options.seed));
  ASSIGN_OR_RETURN(const FileSet window, MakeShards(options.dir, options.shard_bytes(), kShards));
  FileSet small_tensors;
  const std::set<std::string> wanted = ArmsOf(figures);
  if (wanted.contains("tensors_runs")) {
    ASSIGN_OR_RETURN(small_tensors, MakeSmallTensors(options.dir, kSmallTensorCount,
                                                     kSmallTensorCount * kSmallTensorBytes));
  }
  for (const FigureSpec& figure : figures) {
    if (figure.kind != FigureKind::kExcessBytes) continue;
    RETURN_IF_ERROR(MeasurePeaks(options, measured.rows));
  }
  HugePageReserve huge_pages;
  if (!wanted.empty()) {
    ArmSet arms(wanted, window, small_tensors, huge_pages);
    ASSIGN_OR_RETURN(const std::vector<Row> rows,
                     RunRounds(arms.arms(), {.rounds = options.rounds, .seed = options.seed}));
    measured.rows.insert(measured.rows.end(), rows.begin(), rows.end());
    measured.refused = arms.refused();
    measured.fallbacks = arms.fallbacks();
  }
  if (!options.plot_path.empty()) {
    ASSIGN_OR_RETURN(measured.sweep, RunSweep(window, kSweepRounds, options.seed, huge_pages));
  }
  return measured;
}

Json SweepJson(const std::vector<SweepPoint>& points) {
  Json json = Json::array();
  for (const SweepPoint& point : points) {
    json.push_back({{"block_bytes", point.block_bytes},
                    {"depth", point.depth},
                    {"bytes_per_second", point.bytes_per_second}});
  }
  return json;
}

int Run(const Options& options) {
  Json report = {{"versions", VersionFacts()}};
  const Json machine = MachineFacts(options.dir);
  const std::vector<FigureSpec> figures = WantedFigures(StageFigures(), options.figures);
  const absl::StatusOr<StageMeasured> measured = Measure(options, figures);
  if (!measured.ok()) {
    std::fprintf(stderr, "%s\n", std::string(measured.status().message()).c_str());
    return 1;
  }
  const Summary summary = PrintFigures(figures, *measured);
  report["machine"] = machine;
  report["options"] = OptionsJson(options);
  report["options"]["shards"] = kShards;
  report["fallbacks"] = measured->fallbacks;
  report["rows"] = RowsJson(measured->rows);
  if (!measured->sweep.empty()) report["sweep"] = SweepJson(measured->sweep);
  report["summary"] = summary.json;
  bool written =
      WriteFile(options.json_path, options.json_path.empty() ? "" : report.dump(1) + "\n");
  if (!measured->sweep.empty()) {
    Plot plot = SweepPlot(measured->sweep);
    plot.subtitle = absl::StrFormat("%d MiB, medians of %d rounds; %d cores, %s, %s",
                                    options.bytes / kMiB, kSweepRounds, machine["cores"].get<int>(),
                                    machine["disk"].get<std::string>(),
                                    report["versions"]["kernel"].get<std::string>());
    written = WriteFile(options.plot_path, ToSvg(plot)) && written;
  }
  return summary.complete && written ? 0 : 1;
}

}  // namespace
}  // namespace weightd::bench

int main(int argc, char** argv) {
  using namespace weightd::bench;  // NOLINT(google-build-using-namespace): main is its main
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as the daemon does
  CLI::App app(
      "How fast checkpoints are read, against fio and plain readers.\n"
      "Run it as root, on a quiet machine with a real disk and fio installed.\n"
      "Exit status: 0, or 1 when a figure could not be had or written; goals do not matter.");
  Options options;
  options.bytes = 2 * weightd::kGiB;
  options.rounds = 15;
  std::string peak_memory;
  std::string peak_files;
  CLI::Option* quick =
      AddFigureOptions(app, StageFigures(), "Of the files of the window (16m, 2g)", options);
  app.add_option("--plot", options.plot_path, "Throughput over block size and depth, as SVG")
      ->type_name("FILE")
      ->excludes(quick);
  app.add_option("--peak-memory", peak_memory)->group("");  // for itself, as is the next
  app.add_option("--peak-files", peak_files)->group("");
  CLI11_PARSE(app, argc, argv);
  if (!peak_memory.empty()) {
    return PrintPeak({.folder = options.dir, .names = absl::StrSplit(peak_files, ','), .bytes = 0},
                     peak_memory == "host" ? PeakDevice::kHost : PeakDevice::kNull);
  }
  ApplyQuick(app, options);
  return Run(options);
}
