#include "tests/bench/svg_plot.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace weightd::bench {
namespace {

constexpr double kWidth = 760;
constexpr double kHeight = 440;
constexpr double kLeft = 64;
constexpr double kRight = 610;  // the labels of the lines stand behind it
constexpr double kTop = 64;
constexpr double kBottom = 384;
constexpr double kLabelDistance = 15;
constexpr std::array<const char*, 6> kColours = {"#0072b2", "#d55e00", "#009e73",
                                                 "#cc79a7", "#e69f00", "#56b4e9"};

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

// 1, 2 or 5 times a power of ten, so that about five of them reach `max`.
double NiceStep(double max) {
  const double rough = max / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

// Where a value lies in the picture.
struct Scale {
  double x_low = 0;  // powers of two
  double x_high = 1;
  double y_step = 1;
  double y_max = 1;

  double X(double x) const {
    return kLeft + (std::log2(x) - x_low) / (x_high - x_low) * (kRight - kLeft);
  }
  double Y(double y) const { return kBottom - y / y_max * (kBottom - kTop); }
};

Scale ScaleOf(const Plot& plot) {
  double x_low = 1e9;
  double x_high = -1e9;
  double y_high = 0;
  for (const PlotSeries& series : plot.series) {
    for (const auto& [x, y] : series.points) {
      x_low = std::min(x_low, std::log2(x));
      x_high = std::max(x_high, std::log2(x));
      y_high = std::max(y_high, y);
    }
  }
  const double step = NiceStep(std::max(y_high, 1e-9));
  return {.x_low = x_low,
          .x_high = std::max(x_high, x_low + 1),
          .y_step = step,
          .y_max = step * std::ceil(y_high / step)};
}

std::string Text(double x, double y, const char* anchor, const std::string& text) {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor,
                         Escaped(text));
}

std::string Axes(const Plot& plot, const Scale& scale) {
  std::string svg;
  const int lines = static_cast<int>(std::lround(scale.y_max / scale.y_step));
  for (int i = 0; i <= lines; ++i) {
    const double y = i * scale.y_step;
    absl::StrAppendFormat(&svg,
                          "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" "
                          "stroke=\"#bbb\" stroke-width=\"0.7\"/>\n",
                          kLeft, kRight, scale.Y(y), scale.Y(y));
    absl::StrAppend(&svg, Text(kLeft - 8, scale.Y(y) + 4, "end", absl::StrFormat("%g", y)));
  }
  const int marks = static_cast<int>(std::lround(scale.x_high - scale.x_low));
  for (int i = 0; i <= marks; ++i) {
    const double x = std::exp2(scale.x_low + i);
    absl::StrAppend(&svg, Text(scale.X(x), kBottom + 20, "middle", absl::StrFormat("%g", x)));
  }
  absl::StrAppend(&svg, Text((kLeft + kRight) / 2, kBottom + 42, "middle", plot.x_label));
  absl::StrAppend(&svg, Text(kLeft - 48, kTop - 12, "start", plot.y_label));
  return svg;
}

// Labels at the ends of lines, moved apart where the lines end together.
std::vector<double> LabelHeights(const Plot& plot, const Scale& scale) {
  std::vector<size_t> order;
  for (size_t i = 0; i < plot.series.size(); ++i) order.push_back(i);
  const auto end = [&](size_t i) { return scale.Y(plot.series[i].points.back().second); };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return end(a) < end(b); });
  std::vector<double> heights(plot.series.size());
  double above = -kLabelDistance;
  for (const size_t i : order) above = heights[i] = std::max(end(i), above + kLabelDistance);
  return heights;
}

}  // namespace

std::string ToSvg(const Plot& plot) {
  const Scale scale = ScaleOf(plot);
  const std::vector<double> heights = LabelHeights(plot, scale);
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      kWidth, kHeight);
  absl::StrAppendFormat(&svg, "<text x=\"16\" y=\"22\" font-size=\"15\">%s</text>\n",
                        Escaped(plot.title));
  absl::StrAppend(&svg, Text(16, 40, "start", plot.subtitle), Axes(plot, scale));
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const char* colour = kColours[i % kColours.size()];
    std::string points;
    for (const auto& [x, y] : plot.series[i].points) {
      absl::StrAppendFormat(&points, "%.1f,%.1f ", scale.X(x), scale.Y(y));
      absl::StrAppendFormat(&svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                            scale.X(x), scale.Y(y), colour);
    }
    absl::StrAppendFormat(
        &svg, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", points,
        colour);
    absl::StrAppendFormat(&svg, "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s</text>\n", kRight + 10,
                          heights[i] + 4, colour, Escaped(plot.series[i].label));
  }
  return absl::StrCat(svg, "</svg>\n");
}

}  // namespace weightd::bench
