#ifndef WEIGHTD_TESTS_BENCH_STATISTICS_H_
#define WEIGHTD_TESTS_BENCH_STATISTICS_H_

#include <vector>

// What benchmarks report: medians, and intervals that say how much they are worth. Pure functions.

namespace weightd::bench {

// The value below which `fraction` of `values` lie (0 to 1); `values` is not empty.
double Quantile(std::vector<double> values, double fraction);

struct Estimate {
  double median = 0;
  double low = 0;  // of the 95 % interval of the median, by bootstrap with a fixed seed
  double high = 0;
};

Estimate EstimateMedian(const std::vector<double>& values);

// Element by element a / b: the values of one round are a pair, so that what disturbs a round
// disturbs both.
std::vector<double> Ratios(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_STATISTICS_H_
