// What .tensors files cost beside safetensors, what looking at the bytes costs, and how the real
// tensorizer library does on the same file.
//
// Every round runs every arm once, in shuffled order, on files that the page cache holds nothing of
// (cachestat). A figure is the median over rounds of the ratio of two arms within a round, with a
// bootstrap interval. Host memory: no figure here is a GPU's.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/align.h"
#include "common/status_macros.h"
#include "tests/bench/bench_files.h"
#include "tests/bench/figures.h"
#include "tests/bench/format_arms.h"
#include "tests/bench/huge_pages.h"
#include "tests/bench/machine_facts.h"
#include "tests/bench/report.h"
#include "tests/bench/rounds.h"

namespace weightd::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kQuickBytes = 512 * kMiB;
constexpr int kQuickRounds = 3;

struct Options {
  std::string dir;
  uint64_t bytes = 4 * kGiB;
  int rounds = 10;
  uint64_t seed = 1;
  bool quick = false;
  std::string python;
  std::vector<std::string> figures;  // empty is all
  std::string json_path;
};

absl::StatusOr<Measured> Measure(const Options& options, absl::Span<const FigureSpec> figures) {
  RETURN_IF_ERROR(CheckColdPossible(options.dir));
  std::fprintf(stderr, "files below %s, seed %llu\n", options.dir.c_str(),
               static_cast<unsigned long long>(options.seed));
  ASSIGN_OR_RETURN(const FormatFiles files, MakeFormatFiles(options.dir, options.bytes));
  HugePageReserve huge_pages;
  const FormatArms arms(ArmsOf(figures), files, options.python, huge_pages);
  Measured measured;
  ASSIGN_OR_RETURN(measured.rows,
                   RunRounds(arms.arms(), {.rounds = options.rounds, .seed = options.seed}));
  measured.refused = arms.refused();
  measured.fallbacks = arms.fallbacks();
  return measured;
}

int Run(const Options& options) {
  Json report = {{"versions", VersionFacts()}};
  const auto tensorizer = TensorizerVersion(options.python);
  report["versions"]["tensorizer"] = tensorizer.ok() ? Json(*tensorizer) : Json(nullptr);
  report["machine"] = MachineFacts(options.dir);
  const std::vector<FigureSpec> figures = WantedFigures(FormatFigures(), options.figures);
  const absl::StatusOr<Measured> measured = Measure(options, figures);
  if (!measured.ok()) {
    std::fprintf(stderr, "%s\n", std::string(measured.status().message()).c_str());
    return 1;
  }
  const Summary summary = PrintFigures(figures, *measured);
  report["options"] = {{"bytes", options.bytes}, {"rounds", options.rounds},
                       {"seed", options.seed},   {"quick", options.quick},
                       {"dir", options.dir},     {"figures", options.figures}};
  report["fallbacks"] = measured->fallbacks;
  report["rows"] = RowsJson(measured->rows);
  report["summary"] = summary.json;
  const bool written =
      WriteFile(options.json_path, options.json_path.empty() ? "" : report.dump(1) + "\n");
  return summary.complete && written ? 0 : 1;
}

}  // namespace
}  // namespace weightd::bench

int main(int argc, char** argv) {
  using namespace weightd::bench;  // NOLINT(google-build-using-namespace): main is its main
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as the daemon does
  CLI::App app(
      "What .tensors files and looking at the bytes cost, and what the real tensorizer takes.\n"
      "Run it as root, on a quiet machine with a real disk.\n"
      "Exit status: 0, or 1 when a figure could not be had or written; goals do not matter.");
  Options options;
  options.dir = DefaultDir();
  auto* rounds = app.add_option("--rounds", options.rounds, "Rounds that count")
                     ->check(CLI::Range(1, 10000))
                     ->capture_default_str();
  auto* bytes = app.add_option("--bytes", options.bytes, "Of the model (512m, 4g)")
                    ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
                    ->check(CLI::Range(64.0 * 1024 * 1024, 1e15));
  app.add_option("--dir", options.dir, "Where the files are made, and stay")->capture_default_str();
  app.add_option("--python", options.python, "A Python that has tensorizer")->type_name("PROGRAM");
  app.add_option("--figures", options.figures, "Only these")
      ->delimiter(',')
      ->check(CLI::Validator(
          [](const std::string& name) { return CheckFigure(FormatFigures(), name); }, "NAME"));
  app.add_option("--json", options.json_path, "Versions, raw rows and summary")->type_name("FILE");
  app.add_option("--seed", options.seed, "Of the order of arms")->capture_default_str();
  app.add_flag("--quick", options.quick, "Rough: 3 rounds of 512 MiB");
  CLI11_PARSE(app, argc, argv);
  if (options.quick && rounds->count() == 0) options.rounds = kQuickRounds;
  if (options.quick && bytes->count() == 0) options.bytes = kQuickBytes;
  return Run(options);
}
