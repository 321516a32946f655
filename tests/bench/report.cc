#include "tests/bench/report.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/bench/statistics.h"

namespace weightd::bench {
namespace {

using Json = nlohmann::ordered_json;

// Prints a line and gives its part of the summary; null for a figure that cannot be had.
Json PrintFigure(const FigureSpec& figure, const Measured& measured) {
  for (const std::string& arm : figure.arms()) {
    const auto refused = measured.refused.find(arm);
    if (refused == measured.refused.end()) continue;
    std::printf("%-29s not measured: %s: %s\n", figure.name.c_str(), arm.c_str(),
                std::string(refused->second.message()).c_str());
    return nullptr;
  }
  const FigureResult result = Evaluate(figure, measured.rows);
  const Estimate& estimate = result.estimate;
  const std::optional<bool> met = IsMet(figure.goal, estimate);
  const std::string met_text = met.has_value() ? (*met ? "yes" : "NO") : "-";
  std::printf("%-29s %12.5g %12.5g %12.5g  %-20s %-4s %s\n", figure.name.c_str(), estimate.median,
              estimate.low, estimate.high, GoalText(figure.goal).c_str(), met_text.c_str(),
              result.against.c_str());
  Json json = {{"median", estimate.median}, {"low", estimate.low}, {"high", estimate.high}};
  json["goal"] = GoalText(figure.goal);
  json["met"] = met.has_value() ? Json(*met) : Json(nullptr);
  if (!result.against.empty()) json["against"] = result.against;
  return json;
}

void PrintArms(absl::Span<const Row> rows) {
  std::map<std::string, std::pair<std::vector<double>, std::vector<double>>> arms;
  for (const Row& row : rows) {
    arms[row.arm].first.push_back(row.sample.bytes_per_second() / 1e9);
    arms[row.arm].second.push_back(row.sample.cpu_seconds_per_gb());
  }
  std::printf("\n%-29s %12s %12s  (the machine's; ratios are the figures)\n", "arm, medians",
              "GB/s", "CPU s/GB");
  for (const auto& [arm, values] : arms) {
    std::printf("%-29s %12.3f %12.4f\n", arm.c_str(), Quantile(values.first, 0.5),
                Quantile(values.second, 0.5));
  }
}

Json RowJson(const Row& row) {
  Json json = {{"round", row.round},
               {"arm", row.arm},
               {"seconds", row.sample.seconds},
               {"cpu_seconds", row.sample.cpu_seconds},
               {"bytes", row.sample.bytes}};
  if (row.sample.cache_added_fraction) {
    json["cache_added_fraction"] = *row.sample.cache_added_fraction;
  }
  if (row.sample.excess_bytes) json["excess_bytes"] = *row.sample.excess_bytes;
  return json;
}

}  // namespace

std::vector<FigureSpec> WantedFigures(const std::vector<FigureSpec>& all,
                                      const std::vector<std::string>& names) {
  if (names.empty()) return all;
  std::vector<FigureSpec> wanted;
  std::copy_if(all.begin(), all.end(), std::back_inserter(wanted), [&](const FigureSpec& figure) {
    return std::count(names.begin(), names.end(), figure.name) > 0;
  });
  return wanted;
}

std::set<std::string> ArmsOf(absl::Span<const FigureSpec> figures) {
  std::set<std::string> wanted;
  for (const FigureSpec& figure : figures) {
    for (const std::string& arm : figure.arms()) wanted.insert(arm);
  }
  return wanted;
}

CLI::Option* AddFigureOptions(CLI::App& app, const std::vector<FigureSpec>& all,
                              const std::string& bytes_help, FigureOptions& options) {
  const auto check_figure = [&all](const std::string& name) {
    return WantedFigures(all, {name}).empty() ? absl::StrCat("no figure is called ", name) : "";
  };
  app.add_option("--rounds", options.rounds, "Rounds that count")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--bytes", options.bytes, bytes_help)
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->check(CLI::Range(64.0 * 1024 * 1024, 1e15));
  app.add_option("--dir", options.dir, "Where the files are made, and stay")->capture_default_str();
  app.add_option("--figures", options.figures, "Only these")
      ->delimiter(',')
      ->check(CLI::Validator(check_figure, "NAME"));
  app.add_option("--json", options.json_path, "Versions, raw rows and summary")->type_name("FILE");
  app.add_option("--seed", options.seed, "Of the order of arms")->capture_default_str();
  return app.add_flag("--quick", options.quick, "Rough: 3 rounds of 512 MiB");
}

void ApplyQuick(const CLI::App& app, FigureOptions& options) {
  if (!options.quick) return;
  if (app.count("--rounds") == 0) options.rounds = kQuickRounds;
  if (app.count("--bytes") == 0) options.bytes = kQuickBytes;
}

Json OptionsJson(const FigureOptions& options) {
  return {{"bytes", options.bytes}, {"rounds", options.rounds}, {"seed", options.seed},
          {"quick", options.quick}, {"dir", options.dir},       {"figures", options.figures}};
}

Summary PrintFigures(absl::Span<const FigureSpec> figures, const Measured& measured) {
  std::printf("%-29s %12s %12s %12s  %-20s %-4s %s\n", "figure", "median", "low", "high", "goal",
              "met", "against");
  Summary summary = {.json = Json::object()};
  for (const FigureSpec& figure : figures) {
    summary.json[figure.name] = PrintFigure(figure, measured);
    summary.complete = summary.complete && !summary.json[figure.name].is_null();
  }
  PrintArms(measured.rows);
  for (const std::string& fallback : measured.fallbacks) {
    std::printf("goes without: %s\n", fallback.c_str());
  }
  return summary;
}

Json RowsJson(absl::Span<const Row> rows) {
  Json json = Json::array();
  for (const Row& row : rows) json.push_back(RowJson(row));
  return json;
}

bool WriteFile(const std::string& path, const std::string& text) {
  if (path.empty() || (std::ofstream(path) << text << std::flush)) return true;
  std::fprintf(stderr, "cannot write %s\n", path.c_str());
  return false;
}

std::string DefaultDir() {
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  return (program.parent_path().parent_path() / "bench-files").string();
}

}  // namespace weightd::bench
