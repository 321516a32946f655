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

struct Options : FigureOptions {
  std::string python;
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
  report["options"] = OptionsJson(options);
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
  options.bytes = 4 * weightd::kGiB;
  options.rounds = 10;
  AddFigureOptions(app, FormatFigures(), "Of the model (512m, 4g)", options);
  app.add_option("--python", options.python, "A Python that has tensorizer")->type_name("PROGRAM");
  CLI11_PARSE(app, argc, argv);
  ApplyQuick(app, options);
  return Run(options);
}
