#include "tests/bench/figures.h"

#include <algorithm>
#include <functional>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/align.h"

namespace weightd::bench {
namespace {

std::vector<double> ValuesOf(const std::map<int, double>& by_round) {
  std::vector<double> values;
  values.reserve(by_round.size());
  for (const auto& [round, one] : by_round) values.push_back(one);
  return values;
}

// Of one arm, round by round.
std::vector<double> Values(absl::Span<const Row> rows, const std::string& arm,
                           const std::function<double(const Sample&)>& value) {
  std::map<int, double> by_round;
  for (const Row& row : rows) {
    if (row.arm == arm) by_round[row.round] = value(row.sample);
  }
  return ValuesOf(by_round);
}

std::vector<double> Throughputs(absl::Span<const Row> rows, const std::string& arm) {
  return Values(rows, arm, [](const Sample& sample) { return sample.bytes_per_second(); });
}

// One arm for all rounds: to take the best of each round would count its luck as speed.
std::string Fastest(absl::Span<const Row> rows, const std::vector<std::string>& arms) {
  return *std::max_element(arms.begin(), arms.end(), [&](const auto& a, const auto& b) {
    return Quantile(Throughputs(rows, a), 0.5) < Quantile(Throughputs(rows, b), 0.5);
  });
}

std::vector<double> LargestExcess(absl::Span<const Row> rows) {
  std::map<int, double> by_round;
  for (const Row& row : rows) {
    if (!absl::StartsWith(row.arm, "peak_")) continue;
    double& largest = by_round[row.round];
    largest = std::max(largest, row.sample.excess_bytes.value_or(0));
  }
  return ValuesOf(by_round);
}

}  // namespace

const std::vector<FigureSpec>& StageFigures() {
  using Kind = FigureKind;
  constexpr double kExcessBytesMax = 32.0 * kMiB;
  static const auto* const kFigures = new std::vector<FigureSpec>{
      {"cold_vs_fio",
       Kind::kThroughputRatio,
       "cold",
       {"fio_uring"},
       {.at_least = 0.95, .low_at_least = 0.90}},
      {"cpu_s_per_gb", Kind::kCpuPerGb, "cold", {}, {.at_most = 0.005}},
      {"host_tier_vs_fio", Kind::kThroughputRatio, "host", {"fio_uring"}, {.at_least = 0.90}},
      {"host_tier_cpu_s_per_gb", Kind::kCpuPerGb, "host", {}, {.at_most = 0.08}},
      {"host_tier_small_pages_vs_fio", Kind::kThroughputRatio, "host_small", {"fio_uring"}, {}},
      {"pool_excess_bytes", Kind::kExcessBytes, "", {}, {.at_most = kExcessBytesMax}},
      {"cache_added_fraction", Kind::kCacheAdded, "cold", {}, {.at_most = 0.01}},
      {"warm_vs_buffered",
       Kind::kThroughputRatio,
       "warm",
       {"buffered_1", "buffered_cores", "buffered_16"},
       {.at_least = 0.9}},
      {"half_vs_better",
       Kind::kThroughputRatio,
       "half",
       {"half_direct", "half_buffered"},
       {.at_least = 1.0}},
      {"pread_vs_uring", Kind::kThroughputRatio, "cold_pread", {"cold"}, {.at_least = 0.9}},
      {"runs_vs_tensors",
       Kind::kThroughputRatio,
       "tensors_runs",
       {"tensors_each"},
       {.at_least = 4.0}},
      {"cold_vs_libaio", Kind::kThroughputRatio, "cold", {"fio_libaio"}, {.at_least = 1.0}},
      {"huge_vs_small", Kind::kThroughputRatio, "cold", {"cold_small"}, {}},
      {"vs_common_loader",
       Kind::kThroughputRatio,
       "cold",
       {"loader_threads", "loader_mmap"},
       {.at_least = 1.4}}};
  return *kFigures;
}

const std::vector<FigureSpec>& FormatFigures() {
  const auto ratio = [](const char* name, const char* arm, const char* against, Goal goal) {
    return FigureSpec{name, FigureKind::kThroughputRatio, arm, {against}, goal};
  };
  // Of one whose throughput may fall by a tenth.
  constexpr Goal kTenthLess = {.at_least = 0.90};
  constexpr Goal kAlike = {.at_least = 0.95};
  static const auto* const kFigures = new std::vector<FigureSpec>{
      ratio("tensors_vs_safetensors", "tensors_staging", "safetensors_staging", kAlike),
      ratio("tensors_vs_safetensors_host", "tensors_host", "safetensors_host", kAlike),
      ratio("aligned_vs_safetensors_host", "aligned_host", "safetensors_host", kAlike),
      ratio("fast_vs_none", "tensors_staging", "tensors_none", kTenthLess),
      ratio("fast_vs_none_safetensors", "safetensors_staging", "safetensors_none", kTenthLess),
      ratio("full_vs_none", "tensors_full", "tensors_none", {}),
      ratio("tensors_vs_safetensors_small", "tensors_small", "safetensors_small", {}),
      ratio("vs_tensorizer", "tensors_host", "tensorizer", {}),
      ratio("vs_tensorizer_small", "tensors_small", "tensorizer", {}),
      ratio("full_vs_tensorizer_verify", "tensors_host_full", "tensorizer_verify", {})};
  return *kFigures;
}

std::vector<std::string> FigureSpec::arms() const {
  std::vector<std::string> all = against;
  if (!arm.empty()) all.push_back(arm);
  return all;
}

FigureResult Evaluate(const FigureSpec& figure, absl::Span<const Row> rows) {
  switch (figure.kind) {
    case FigureKind::kThroughputRatio: {
      const std::string against = Fastest(rows, figure.against);
      const auto ratios = Ratios(Throughputs(rows, figure.arm), Throughputs(rows, against));
      return {.estimate = EstimateMedian(ratios), .against = against};
    }
    case FigureKind::kCpuPerGb:
      return {.estimate = EstimateMedian(Values(rows, figure.arm, &Sample::cpu_seconds_per_gb)),
              .against = ""};
    case FigureKind::kCacheAdded:
      return {.estimate = EstimateMedian(Values(
                  rows, figure.arm,
                  [](const Sample& sample) { return sample.cache_added_fraction.value_or(1); })),
              .against = ""};
    case FigureKind::kExcessBytes:
      return {.estimate = EstimateMedian(LargestExcess(rows)), .against = ""};
  }
  return {};
}

std::string GoalText(const Goal& goal) {
  std::vector<std::string> parts;
  if (goal.at_least.has_value()) parts.push_back(absl::StrCat(">= ", *goal.at_least));
  if (goal.low_at_least.has_value()) parts.push_back(absl::StrCat("low >= ", *goal.low_at_least));
  if (goal.at_most.has_value()) parts.push_back(absl::StrCat("<= ", *goal.at_most));
  return parts.empty() ? "reported" : absl::StrJoin(parts, ", ");
}

std::optional<bool> IsMet(const Goal& goal, const Estimate& estimate) {
  if (!goal.at_least && !goal.low_at_least && !goal.at_most) return std::nullopt;
  return (!goal.at_least || estimate.median >= *goal.at_least) &&
         (!goal.low_at_least || estimate.low >= *goal.low_at_least) &&
         (!goal.at_most || estimate.median <= *goal.at_most);
}

}  // namespace weightd::bench
