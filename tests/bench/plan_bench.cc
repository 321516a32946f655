// How long a checkpoint of many tensors takes to plan: from its name to the checked manifest.
//
// 120,000 tensors in 64 shards, named and shaped like a large mixture of experts, with an index
// and without one. The files are sparse: their headers are as long as the real ones, their data
// takes no disk and is never read. Headers come from the page cache.

#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "daemon/catalog/catalog.h"
#include "daemon/storage/volume.h"
#include "tests/bench/statistics.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::bench {
namespace {

using Json = nlohmann::ordered_json;
using testing::TensorSpec;

constexpr uint64_t kTensors = 120'000;
constexpr uint64_t kShards = 64;
constexpr uint64_t kExperts = 256;
constexpr uint64_t kHidden = 7168;
constexpr uint64_t kIntermediate = 2048;
constexpr uint64_t kScaleBlock = 128;

const std::vector<std::string> kModels = {"indexed", "bare"};

// A matrix in FP8 and the scales of its blocks.
void AddMatrix(const std::string& name, uint64_t rows, uint64_t columns,
               std::vector<TensorSpec>& specs) {
  specs.push_back({name + ".weight", Dtype::kF8E4M3, {rows, columns}});
  specs.push_back(
      {name + ".weight_scale_inv", Dtype::kF32, {rows / kScaleBlock, columns / kScaleBlock}});
}

// Layers like those of DeepSeek-V3, as many as `kTensors` has room for.
std::vector<TensorSpec> MixtureOfExpertsSpecs() {
  std::vector<TensorSpec> specs = {{"model.embed_tokens.weight", Dtype::kBf16, {129280, kHidden}},
                                   {"model.norm.weight", Dtype::kBf16, {kHidden}},
                                   {"lm_head.weight", Dtype::kBf16, {129280, kHidden}}};
  for (int layer = 0; specs.size() < kTensors; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    specs.push_back({prefix + "input_layernorm.weight", Dtype::kBf16, {kHidden}});
    specs.push_back({prefix + "post_attention_layernorm.weight", Dtype::kBf16, {kHidden}});
    AddMatrix(prefix + "self_attn.q_a_proj", 1536, kHidden, specs);
    AddMatrix(prefix + "self_attn.q_b_proj", 24576, 1536, specs);
    AddMatrix(prefix + "self_attn.kv_b_proj", 32768, 512, specs);
    AddMatrix(prefix + "self_attn.o_proj", kHidden, 16384, specs);
    specs.push_back({prefix + "mlp.gate.weight", Dtype::kBf16, {kExperts, kHidden}});
    for (uint64_t expert = 0; expert < kExperts; ++expert) {
      const std::string mlp = absl::StrCat(prefix, "mlp.experts.", expert, ".");
      AddMatrix(mlp + "gate_proj", kIntermediate, kHidden, specs);
      AddMatrix(mlp + "up_proj", kIntermediate, kHidden, specs);
      AddMatrix(mlp + "down_proj", kHidden, kIntermediate, specs);
    }
  }
  specs.resize(kTensors);
  return specs;
}

absl::Status WriteModel(const std::string& dir, bool with_index) {
  const auto shards = testing::SplitSpecs(MixtureOfExpertsSpecs(), kShards);
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string path = absl::StrCat(dir, "/", testing::ShardName(i, shards.size()));
    const std::string prefix =
        testing::SafetensorsPrefix(testing::SafetensorsHeaderText(shards[i], {}));
    RETURN_IF_ERROR(testing::WriteRawFile(path, prefix));
    std::filesystem::resize_file(path, prefix.size() + testing::SpecBytes(shards[i]));
  }
  if (!with_index) return absl::OkStatus();
  return testing::WriteRawFile(dir + "/model.safetensors.index.json", testing::IndexText(shards));
}

// Processor time of all threads of this process.
double CpuMilliseconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto ms = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
  };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

double NowMilliseconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

// One Find and one Open; null when one failed or the manifest is not whole.
Json PlanOnce(const Catalog& catalog, const std::string& model) {
  const double begin_cpu_ms = CpuMilliseconds();
  const double begin_ms = NowMilliseconds();
  const auto checkpoint = catalog.Find(model);
  if (!checkpoint.ok()) {
    std::fprintf(stderr, "%s\n", checkpoint.status().ToString().c_str());
    return nullptr;
  }
  const double found_ms = NowMilliseconds();
  const auto opened = catalog.Open(*checkpoint);
  const double opened_ms = NowMilliseconds();
  const double opened_cpu_ms = CpuMilliseconds();
  if (!opened.ok() || opened->manifest.tensors.size() != kTensors) {
    std::fprintf(stderr, "%s\n", opened.status().ToString().c_str());
    return nullptr;
  }
  return {{"model", model},
          {"find_ms", found_ms - begin_ms},
          {"open_ms", opened_ms - found_ms},
          {"plan_ms", opened_ms - begin_ms},
          {"plan_cpu_ms", opened_cpu_ms - begin_cpu_ms}};
}

void Print(const std::map<std::string, std::vector<double>>& figures) {
  std::printf("%-24s %10s %10s\n", "figure", "median", "worst");
  for (const auto& [name, values] : figures) {
    std::printf("%-24s %10.1f %10.1f\n", name.c_str(), Quantile(values, 0.5),
                Quantile(values, 1.0));
  }
}

int Measure(int rounds, const std::string& json_path) {
  const testing::TempDir dir;
  for (const std::string& model : kModels) {
    const absl::Status status = WriteModel(dir.File(model), model == "indexed");
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      return 1;
    }
  }
  auto volume = OpenVolume(dir.path());
  if (!volume.ok()) return 1;
  std::vector<std::shared_ptr<Volume>> volumes;
  volumes.push_back(*std::move(volume));
  const Catalog catalog(std::move(volumes), {});

  std::map<std::string, std::vector<double>> figures;
  Json rows = Json::array();
  // The first round warms the page cache and the allocator and is not counted.
  for (int round = 0; round <= rounds; ++round) {
    for (const std::string& model : kModels) {
      Json row = PlanOnce(catalog, model);
      if (row.is_null()) return 1;
      if (round == 0) continue;
      for (const char* figure : {"find_ms", "open_ms", "plan_ms", "plan_cpu_ms"}) {
        figures[absl::StrCat(model, "_", figure)].push_back(row[figure]);
      }
      row["round"] = round;
      rows.push_back(std::move(row));
    }
  }
  Print(figures);
  if (!json_path.empty()) std::ofstream(json_path) << Json{{"rows", rows}}.dump(1) << "\n";
  return 0;
}

}  // namespace
}  // namespace weightd::bench

int main(int argc, char** argv) {
  CLI::App app("Time to plan 120,000 tensors in 64 shards, headers in the page cache.");
  int rounds = 20;
  std::string json_path;
  app.add_option("--rounds", rounds, "Rounds that count")->check(CLI::Range(1, 10000));
  app.add_option("--json", json_path, "Raw rows")->type_name("FILE");
  CLI11_PARSE(app, argc, argv);
  return weightd::bench::Measure(rounds, json_path);
}
