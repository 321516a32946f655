// What a daemon with many leases costs: time of an attach, memory of a lease, grants per second.
//
// One daemon on host memory holds a model of 300 small tensors. In each round a fresh daemon comes
// to hold 1, 10, 100 and 1,000 leases, each an Attach() of the C++ library with a connection of its
// own; at each level attaches are timed one at a time, then several clients attach and drop as fast
// as they can. A figure is the median over rounds.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/align.h"
#include "tests/bench/lease_levels.h"
#include "tests/bench/lease_worker.h"
#include "tests/bench/machine_facts.h"
#include "tests/bench/statistics.h"

namespace weightd::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kQuickRounds = 1;
constexpr double kAttachP99GoalMs = 50;
constexpr double kHungGrowthGoal = 2;  // of the p99, while a volume hangs
constexpr double kBytesPerLeaseGoal = 64 * kKiB;

// Of one level, medians over rounds.
struct LevelFigures {
  uint64_t held = 0;
  double attach_p50_ms = 0;
  double attach_p99_ms = 0;
  double grants_per_s = 0;
  double daemon_bytes = 0;
};

double MedianOfRounds(const std::vector<RoundSample>& rounds,
                      const std::function<double(const RoundSample&)>& value) {
  std::vector<double> values;
  values.reserve(rounds.size());
  for (const RoundSample& round : rounds) values.push_back(value(round));
  return Quantile(values, 0.5);
}

std::vector<LevelFigures> Summarize(const std::vector<RoundSample>& rounds) {
  std::vector<LevelFigures> figures;
  for (size_t i = 0; i < rounds.front().levels.size(); ++i) {
    const auto median = [&](const std::function<double(const LevelSample&)>& value) {
      return MedianOfRounds(rounds,
                            [&](const RoundSample& round) { return value(round.levels[i]); });
    };
    figures.push_back(
        {.held = rounds.front().levels[i].held,
         .attach_p50_ms = median([](const auto& level) { return Quantile(level.attach_ms, 0.5); }),
         .attach_p99_ms = median([](const auto& level) { return Quantile(level.attach_ms, 0.99); }),
         .grants_per_s = median([](const auto& level) { return level.grants_per_s; }),
         .daemon_bytes = median(
             [](const auto& level) { return static_cast<double>(level.memory.anon_bytes); })});
  }
  return figures;
}

Json MemoryJson(const DaemonMemory& memory) {
  Json json = {{"anon_bytes", memory.anon_bytes}};
  json["pss_bytes"] = memory.pss_bytes.has_value() ? Json(*memory.pss_bytes) : Json(nullptr);
  return json;
}

Json RowsJson(const std::vector<RoundSample>& rounds) {
  Json rows = Json::array();
  for (size_t i = 0; i < rounds.size(); ++i) {
    const RoundSample& round = rounds[i];
    Json levels = Json::array();
    for (const LevelSample& level : round.levels) {
      levels.push_back({{"held", level.held},
                        {"attach_ms", level.attach_ms},
                        {"grants_per_s", level.grants_per_s},
                        {"memory", MemoryJson(level.memory)}});
    }
    rows.push_back({{"round", i + 1},
                    {"idle", MemoryJson(round.idle)},
                    {"levels", levels},
                    {"dropped", MemoryJson(round.dropped)},
                    {"regrown", MemoryJson(round.regrown)},
                    {"leases_left", round.leases_left},
                    {"daemon_bytes_per_lease", round.bytes_per_lease()}});
  }
  return rows;
}

Json LevelsJson(const std::vector<LevelFigures>& figures) {
  Json levels = Json::array();
  for (const LevelFigures& level : figures) {
    levels.push_back({{"held", level.held},
                      {"attach_p50_ms", level.attach_p50_ms},
                      {"attach_p99_ms", level.attach_p99_ms},
                      {"grants_per_s", level.grants_per_s},
                      {"daemon_anon_bytes", level.daemon_bytes}});
  }
  return levels;
}

Json GrowthJson(const LevelFigures& first, const LevelFigures& last) {
  return {{"attach_p50", last.attach_p50_ms / first.attach_p50_ms},
          {"attach_p99", last.attach_p99_ms / first.attach_p99_ms},
          {"grants_per_s", last.grants_per_s / first.grants_per_s},
          {"daemon_bytes", last.daemon_bytes / first.daemon_bytes}};
}

Json SummaryJson(const std::vector<RoundSample>& rounds, const LevelFigures& last) {
  return {
      {"attach_p50_ms", last.attach_p50_ms},
      {"attach_p99_ms", last.attach_p99_ms},
      {"daemon_bytes_per_lease",
       MedianOfRounds(rounds, [](const RoundSample& round) { return round.bytes_per_lease(); })},
      {"grants_per_s", last.grants_per_s}};
}

// Of attaches while a volume hangs against those before it, in each round; null without such a
// root.
Json HungJson(const std::vector<RoundSample>& rounds) {
  if (rounds.front().hung_attach_ms.empty()) return nullptr;
  const auto median = [&](double quantile, std::vector<double> RoundSample::*values) {
    return MedianOfRounds(
        rounds, [&](const RoundSample& round) { return Quantile(round.*values, quantile); });
  };
  const double idle = median(0.99, &RoundSample::idle_attach_ms);
  const double hung = median(0.99, &RoundSample::hung_attach_ms);
  return {{"idle_p50_ms", median(0.5, &RoundSample::idle_attach_ms)},
          {"hung_p50_ms", median(0.5, &RoundSample::hung_attach_ms)},
          {"idle_p99_ms", idle},
          {"hung_p99_ms", hung},
          {"growth_p99", hung / idle},
          {"at_most", kHungGrowthGoal},
          {"met", hung <= kHungGrowthGoal * idle}};
}

Json GoalsJson(const Json& summary) {
  const double p99_ms = summary["attach_p99_ms"];
  const double bytes = summary["daemon_bytes_per_lease"];
  return {{"attach_p99_ms", {{"below", kAttachP99GoalMs}, {"met", p99_ms < kAttachP99GoalMs}}},
          {"daemon_bytes_per_lease",
           {{"at_most", kBytesPerLeaseGoal}, {"met", bytes <= kBytesPerLeaseGoal}}}};
}

const char* YesOrNo(const Json& met) { return met.get<bool>() ? "met" : "MISSED"; }

void PrintLevels(const std::vector<LevelFigures>& figures, const Json& growth) {
  std::printf("%8s %14s %14s %12s %12s\n", "held", "attach p50 ms", "attach p99 ms", "grants/s",
              "daemon MiB");
  for (const LevelFigures& level : figures) {
    std::printf("%8llu %14.2f %14.2f %12.0f %12.2f\n", static_cast<unsigned long long>(level.held),
                level.attach_p50_ms, level.attach_p99_ms, level.grants_per_s,
                level.daemon_bytes / static_cast<double>(kMiB));
  }
  std::printf("%8s %13.2fx %13.2fx %11.2fx %11.2fx  (largest / smallest level)\n\n", "growth",
              growth["attach_p50"].get<double>(), growth["attach_p99"].get<double>(),
              growth["grants_per_s"].get<double>(), growth["daemon_bytes"].get<double>());
}

void PrintMemory(const std::vector<RoundSample>& rounds) {
  const auto mib = [&](DaemonMemory RoundSample::*memory) {
    return MedianOfRounds(rounds, [memory](const RoundSample& round) {
      return static_cast<double>((round.*memory).anon_bytes) / static_cast<double>(kMiB);
    });
  };
  std::printf(
      "daemon memory: %.2f MiB before the first lease, %.2f MiB once all were dropped, "
      "%.2f MiB with all leases once more\n",
      mib(&RoundSample::idle), mib(&RoundSample::dropped), mib(&RoundSample::regrown));
  std::printf("leases listed after all were dropped: %.0f\n",
              MedianOfRounds(rounds, [](const RoundSample& round) {
                return static_cast<double>(round.leases_left);
              }));
}

void PrintGoals(const Json& summary, const Json& goals) {
  std::printf("attach p99: %.2f ms, goal below %.0f ms: %s\n",
              summary["attach_p99_ms"].get<double>(), kAttachP99GoalMs,
              YesOrNo(goals["attach_p99_ms"]["met"]));
  std::printf("daemon memory per lease: %.1f KiB, goal at most %.0f KiB: %s\n",
              summary["daemon_bytes_per_lease"].get<double>() / static_cast<double>(kKiB),
              kBytesPerLeaseGoal / static_cast<double>(kKiB),
              YesOrNo(goals["daemon_bytes_per_lease"]["met"]));
}

void PrintHung(const Json& hung) {
  if (hung.is_null()) return;
  std::printf(
      "attach p99 while a volume hangs: %.2f ms, before it %.2f ms: %.2fx, goal at most %.0fx: "
      "%s\n",
      hung["hung_p99_ms"].get<double>(), hung["idle_p99_ms"].get<double>(),
      hung["growth_p99"].get<double>(), kHungGrowthGoal, YesOrNo(hung["met"]));
}

absl::StatusOr<std::vector<RoundSample>> MeasureRounds(const LevelOptions& options, int count) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  std::vector<RoundSample> rounds;
  for (int round = 1; round <= count; ++round) {
    std::fprintf(stderr, "round %d of %d\n", round, count);
    absl::StatusOr<RoundSample> sample = MeasureRound(options);
    if (!sample.ok()) return sample.status();
    rounds.push_back(*std::move(sample));
  }
  return rounds;
}

int Run(const LevelOptions& options, int round_count, const std::string& json_path) {
  const std::string folder = std::filesystem::temp_directory_path().string();
  const Json machine = MachineFacts(folder);
  const absl::StatusOr<std::vector<RoundSample>> rounds = MeasureRounds(options, round_count);
  if (!rounds.ok()) {
    std::fprintf(stderr, "%s\n", std::string(rounds.status().message()).c_str());
    return 1;
  }
  const std::vector<LevelFigures> figures = Summarize(*rounds);
  const Json growth = GrowthJson(figures.front(), figures.back());
  const Json summary = SummaryJson(*rounds, figures.back());
  const Json goals = GoalsJson(summary);
  PrintLevels(figures, growth);
  PrintMemory(*rounds);
  PrintGoals(summary, goals);
  const Json hung = HungJson(*rounds);
  PrintHung(hung);
  if (json_path.empty()) return 0;
  const Json report = {{"versions", VersionFacts()},
                       {"machine", machine},
                       {"options",
                        {{"leases", options.leases},
                         {"samples", options.samples},
                         {"grants", options.grants},
                         {"parallel", options.parallel},
                         {"holders", options.holders},
                         {"tensors", options.tensors},
                         {"rounds", round_count}}},
                       {"rows", RowsJson(*rounds)},
                       {"levels", LevelsJson(figures)},
                       {"growth", growth},
                       {"goals", goals},
                       {"hung_root", hung},
                       {"summary", summary}};
  if (std::ofstream(json_path) << report.dump(1) << "\n" << std::flush) return 0;
  std::fprintf(stderr, "cannot write %s\n", json_path.c_str());
  return 1;
}

}  // namespace
}  // namespace weightd::bench

int main(int argc, char** argv) {
  CLI::App app(
      "Attach time, daemon memory per lease and grants per second, over the leases that are held.\n"
      "Exit status: 0, or 1 when a figure could not be had or written; goals do not matter.");
  weightd::bench::LevelOptions options;
  options.program = std::filesystem::read_symlink("/proc/self/exe").string();
  int rounds = 3;
  bool quick = false;
  std::string json_path;
  weightd::bench::WorkerSetup worker;
  app.add_option("--leases", options.leases, "Of the largest level; the others are powers of 10")
      ->check(CLI::Range(100, 10000))
      ->capture_default_str();
  app.add_option("--samples", options.samples, "Timed attaches at each level")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--grants", options.grants, "Attaches for the grants per second at each level")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_option("--parallel", options.parallel, "Processes that make them")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--holders", options.holders, "Processes that hold the leases")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--rounds", rounds, "Rounds, each with a daemon of its own")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--hung-root", options.hung_root,
                 "A root that hangs (tests/integration/drain/hung_fuse.py), for attaches meanwhile")
      ->type_name("DIR");
  app.add_flag("--quick", quick, "1 round");
  app.add_option("--json", json_path, "Raw rows and summary")->type_name("FILE");
  app.add_option("--worker", worker.model)->group("");  // for itself, as are the next
  app.add_option("--socket-dir", worker.socket_dir)->group("");
  app.add_option("--tensors", worker.tensors)->group("");
  CLI11_PARSE(app, argc, argv);
  if (!worker.model.empty()) return weightd::bench::RunLeaseWorker(worker);
  return weightd::bench::Run(options, quick ? weightd::bench::kQuickRounds : rounds, json_path);
}
