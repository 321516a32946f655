#ifndef WEIGHTD_TESTS_BENCH_FIGURES_H_
#define WEIGHTD_TESTS_BENCH_FIGURES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "tests/bench/rounds.h"
#include "tests/bench/statistics.h"

// What stage_bench and format_bench answer: figures, the arms they are made of, and the goals. Pure
// functions.

namespace weightd::bench {

enum class FigureKind {
  kThroughputRatio,  // of `arm` / the fastest (by median) of `against`
  kCpuPerGb,         // CPU seconds per 1e9 bytes of `arm`
  kCacheAdded,       // pages that `arm` leaves in the page cache / the files'
  kExcessBytes,      // the largest of all peak_* arms
};

struct Goal {
  std::optional<double> at_least = {};      // the median
  std::optional<double> low_at_least = {};  // the interval's lower bound
  std::optional<double> at_most = {};       // the median
};

struct FigureSpec {
  std::string name;
  FigureKind kind = FigureKind::kThroughputRatio;
  std::string arm;
  std::vector<std::string> against;
  Goal goal;

  std::vector<std::string> arms() const;  // all that it needs
};

// All figures of stage_bench and of format_bench, in the order in which they are reported.
const std::vector<FigureSpec>& StageFigures();
const std::vector<FigureSpec>& FormatFigures();

struct FigureResult {
  Estimate estimate;
  std::string against;  // which of the arms it was compared with; empty without one
};

// Of rows that hold each arm once a round.
FigureResult Evaluate(const FigureSpec& figure, absl::Span<const Row> rows);

// "median >= 0.95, low >= 0.9"; "reported" without a goal.
std::string GoalText(const Goal& goal);
// None without a goal.
std::optional<bool> IsMet(const Goal& goal, const Estimate& estimate);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_FIGURES_H_
