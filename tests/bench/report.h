#ifndef WEIGHTD_TESTS_BENCH_REPORT_H_
#define WEIGHTD_TESTS_BENCH_REPORT_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "tests/bench/figures.h"
#include "tests/bench/rounds.h"

// What a benchmark of figures prints and writes. Thread-compatible; writes to stdout and stderr.

namespace weightd::bench {

// Beside the programs, on the disk that the build is on: where the files of benchmarks are made.
std::string DefaultDir();

struct Measured {
  std::vector<Row> rows;
  std::map<std::string, absl::Status> refused;  // arms that could not be run as meant, and why
  std::vector<std::string> fallbacks;           // what our read path went without
};

// Which of `all` are wanted: those named, or all of them without names.
std::vector<FigureSpec> WantedFigures(const std::vector<FigureSpec>& all,
                                      const std::vector<std::string>& names);
// The arms that these need.
std::set<std::string> ArmsOf(absl::Span<const FigureSpec> figures);
// What such a benchmark is told on its command line.
struct FigureOptions {
  std::string dir = DefaultDir();
  uint64_t bytes = 0;  // of the files
  int rounds = 0;
  uint64_t seed = 1;
  bool quick = false;
  std::vector<std::string> figures = {};  // empty is all
  std::string json_path = {};
};
// What --quick takes where --rounds and --bytes say nothing.
inline constexpr int kQuickRounds = 3;
inline constexpr uint64_t kQuickBytes = uint64_t{512} << 20;

// Adds these options; `options` has the defaults and outlives the parsing, after which ApplyQuick()
// is called. `bytes_help` says what `bytes` is of. Returns that of --quick.
CLI::Option* AddFigureOptions(CLI::App& app, const std::vector<FigureSpec>& all,
                              const std::string& bytes_help, FigureOptions& options);
void ApplyQuick(const CLI::App& app, FigureOptions& options);

nlohmann::ordered_json OptionsJson(const FigureOptions& options);

struct Summary {
  nlohmann::ordered_json json;  // a key for each figure, null for one that could not be had
  bool complete = true;         // none is null
};
// Prints a line for each figure, and then the medians of all arms and the fallbacks.
Summary PrintFigures(absl::Span<const FigureSpec> figures, const Measured& measured);

// Every run of every arm.
nlohmann::ordered_json RowsJson(absl::Span<const Row> rows);

// To `path`, unless that is empty. False, and said on stderr, when it cannot be written.
bool WriteFile(const std::string& path, const std::string& text);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_REPORT_H_
