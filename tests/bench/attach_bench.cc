// How long a fresh process needs to attach: from its start to every tensor looked up by name.
//
// One daemon on host memory holds models with 100, 1,000 and 10,000 tensors of 16 MiB together,
// and one with 1,000 tensors of 1 GiB. Each round runs every arm once, in shuffled order, in a
// process of its own; figures compare arms within a round.

#include <weightd/client.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "tests/bench/statistics.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/temp_dir.h"
#include "tests/support/process/daemon_process.h"
#include "tests/support/process/weightctl.h"

namespace weightd::bench {
namespace {

using Json = nlohmann::ordered_json;

struct Arm {
  std::string model;
  uint64_t tensors;
  uint64_t bytes;
};

const std::vector<Arm> kArms = {{"t100", 100, 16 * kMiB},
                                {"t1000", 1000, 16 * kMiB},
                                {"t10000", 10000, 16 * kMiB},
                                {"t1000-1gib", 1000, kGiB}};

int64_t NowNs() {
  // Monotonic and the same in all processes (steady_clock is CLOCK_MONOTONIC here).
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

double Milliseconds(int64_t from_ns, int64_t to_ns) {
  return static_cast<double>(to_ns - from_ns) / 1e6;
}

// The process that attaches. `spawned_ns` is when its parent was about to start it.
int AttachOnce(const std::string& socket_dir, const std::string& model, int64_t spawned_ns) {
  const int64_t main_ns = NowNs();
  const auto mapping = client::Attach(model, {.socket_dir = socket_dir, .client_name = "bench"});
  if (!mapping.ok()) {
    std::fprintf(stderr, "%s\n", mapping.status().message().c_str());
    return 1;
  }
  const int64_t attached_ns = NowNs();
  size_t found = 0;
  for (const client::Tensor& tensor : mapping->tensors()) {
    found += mapping->Find(tensor.name) != nullptr ? 1 : 0;
  }
  const int64_t looked_up_ns = NowNs();
  const Json line = {{"tensors", found},
                     {"start_ms", Milliseconds(spawned_ns, main_ns)},
                     {"attach_ms", Milliseconds(main_ns, attached_ns)},
                     {"lookup_ms", Milliseconds(attached_ns, looked_up_ns)},
                     {"total_ms", Milliseconds(spawned_ns, looked_up_ns)}};
  std::printf("%s\n", line.dump().c_str());
  return 0;
}

bool WriteModels(const std::string& root) {
  for (const Arm& arm : kArms) {
    const auto specs = testing::SmallTensorSpecs(arm.tensors, arm.bytes);
    const absl::Status written =
        testing::WriteSafetensors(absl::StrCat(root, "/", arm.model, ".safetensors"), specs);
    if (!written.ok()) {
      std::fprintf(stderr, "%s\n", written.ToString().c_str());
      return false;
    }
  }
  return true;
}

bool Stage(const testing::Weightctl& weightctl) {
  for (const Arm& arm : kArms) {
    const testing::CommandResult staged = weightctl.Run({"stage", arm.model, "--wait"});
    if (staged.exit_code != 0) {
      std::fprintf(stderr, "%s", staged.err.c_str());
      return false;
    }
  }
  return true;
}

// One attach; null when it failed.
Json RunArm(const std::string& program, const std::string& socket_dir, const Arm& arm) {
  testing::ChildProcess child({.argv = {program, "--once", arm.model, "--socket-dir", socket_dir,
                                        "--spawned-ns", absl::StrCat(NowNs())}});
  if (child.WaitForExit() != 0) {
    std::fprintf(stderr, "%s: %s", arm.model.c_str(), child.err().c_str());
    return nullptr;
  }
  Json row = Json::parse(child.out(), nullptr, false);
  if (row.is_discarded() || row["tensors"] != arm.tensors) return nullptr;
  row["model"] = arm.model;
  row["bytes"] = arm.bytes;
  return row;
}

Json ToJson(const Estimate& estimate) {
  return {{"median", estimate.median}, {"low", estimate.low}, {"high", estimate.high}};
}

Json Summarize(const std::map<std::string, std::vector<double>>& totals) {
  Json summary;
  for (const Arm& arm : kArms) {
    summary[absl::StrCat("attach_", arm.model, "_ms")] =
        ToJson(EstimateMedian(totals.at(arm.model)));
  }
  summary["growth_10000_vs_1000"] =
      ToJson(EstimateMedian(Ratios(totals.at("t10000"), totals.at("t1000"))));
  summary["growth_1gib_vs_16mib"] =
      ToJson(EstimateMedian(Ratios(totals.at("t1000-1gib"), totals.at("t1000"))));
  return summary;
}

void Print(const Json& summary, const std::map<std::string, std::vector<double>>& totals) {
  std::printf("%-24s %10s %22s %10s\n", "figure", "median", "95 % interval", "p95");
  for (const auto& [name, estimate] : summary.items()) {
    std::string p95;
    for (const Arm& arm : kArms) {
      if (name == absl::StrCat("attach_", arm.model, "_ms")) {
        p95 = absl::StrCat(Quantile(totals.at(arm.model), 0.95));
      }
    }
    std::printf("%-24s %10.2f %10.2f to %8.2f %10.5s\n", name.c_str(),
                estimate["median"].get<double>(), estimate["low"].get<double>(),
                estimate["high"].get<double>(), p95.c_str());
  }
}

int Measure(const std::string& program, int rounds, const std::string& json_path) {
  const testing::TempDir dir;
  const std::string socket_dir = dir.File("sockets");
  if (!WriteModels(dir.path())) return 1;
  testing::DaemonProcess daemon(
      {.root = dir.path(), .socket_dir = socket_dir, .flags = {"--cuda.enabled", "OFF"}});
  if (!daemon.WaitUntilServing() || !Stage(testing::Weightctl(socket_dir))) {
    std::fprintf(stderr, "%s", daemon.log().c_str());
    return 1;
  }
  std::mt19937 random(1);
  std::vector<Arm> order = kArms;
  std::map<std::string, std::vector<double>> totals;
  Json rows = Json::array();
  // The first round warms the page cache of the programs and is not counted.
  for (int round = 0; round <= rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const Arm& arm : order) {
      Json row = RunArm(program, socket_dir, arm);
      if (row.is_null()) return 1;
      if (round == 0) continue;
      totals[arm.model].push_back(row["total_ms"]);
      row["round"] = round;
      rows.push_back(std::move(row));
    }
  }
  const Json summary = Summarize(totals);
  Print(summary, totals);
  if (!json_path.empty()) {
    std::ofstream(json_path) << Json{{"rows", rows}, {"summary", summary}}.dump(1) << "\n";
  }
  return daemon.Stop() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace weightd::bench

int main(int argc, char** argv) {
  CLI::App app("Attach time of fresh processes, over the number of tensors and their bytes.");
  int rounds = 30;
  bool quick = false;
  std::string json_path;
  std::string once;
  std::string socket_dir;
  int64_t spawned_ns = 0;
  app.add_option("--rounds", rounds, "Rounds that count")->check(CLI::Range(1, 10000));
  app.add_flag("--quick", quick, "5 rounds");
  app.add_option("--json", json_path, "Raw rows and summary")->type_name("FILE");
  app.add_option("--once", once, "Attach to this model and report (for itself)")->group("");
  app.add_option("--socket-dir", socket_dir)->group("");
  app.add_option("--spawned-ns", spawned_ns)->group("");
  CLI11_PARSE(app, argc, argv);
  if (!once.empty()) return weightd::bench::AttachOnce(socket_dir, once, spawned_ns);
  return weightd::bench::Measure(argv[0], quick ? 5 : rounds, json_path);
}
