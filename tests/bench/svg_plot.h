#ifndef WEIGHTD_TESTS_BENCH_SVG_PLOT_H_
#define WEIGHTD_TESTS_BENCH_SVG_PLOT_H_

#include <string>
#include <utility>
#include <vector>

namespace weightd::bench {

// A line plot: x in powers of two, y from 0. Pure.
struct PlotSeries {
  std::string label;
  std::vector<std::pair<double, double>> points;  // x is 1 or more
};

struct Plot {
  std::string title;
  std::string subtitle;  // on what it was measured
  std::string x_label;
  std::string y_label;
  std::vector<PlotSeries> series;  // at least one, with a point
};

// The text of an SVG file that needs nothing else.
std::string ToSvg(const Plot& plot);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_SVG_PLOT_H_
