#include "tests/bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>

namespace weightd::bench {
namespace {

constexpr int kResamples = 2000;
constexpr unsigned kSeed = 20240601;

}  // namespace

double Quantile(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  const double position = fraction * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(std::floor(position));
  const size_t above = std::min(below + 1, values.size() - 1);
  const double part = position - std::floor(position);
  return values[below] * (1 - part) + values[above] * part;
}

Estimate EstimateMedian(const std::vector<double>& values) {
  std::mt19937 random(kSeed);
  std::uniform_int_distribution<size_t> pick(0, values.size() - 1);
  std::vector<double> medians;
  std::vector<double> sample(values.size());
  for (int i = 0; i < kResamples; ++i) {
    for (double& value : sample) value = values[pick(random)];
    medians.push_back(Quantile(sample, 0.5));
  }
  return {.median = Quantile(values, 0.5),
          .low = Quantile(medians, 0.025),
          .high = Quantile(medians, 0.975)};
}

std::vector<double> Ratios(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) ratios.push_back(a[i] / b[i]);
  return ratios;
}

}  // namespace weightd::bench
