#include "tests/integration/history/history_model.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace weightd::testing {
namespace {

constexpr uint64_t kMiB = 1 << 20;

}  // namespace

const std::vector<HistoryModel>& HistoryModels() {
  static const std::vector<HistoryModel>& models = *new std::vector<HistoryModel>{
      {"m1", ModelLayout::kFile, 1 * kMiB},         {"m2", ModelLayout::kDirectory, 2 * kMiB},
      {"m3", ModelLayout::kShards, 3 * kMiB},       {"org/m4", ModelLayout::kHubCache, 4 * kMiB},
      {"m5", ModelLayout::kFile, 5 * kMiB},         {"m6", ModelLayout::kShards, 6 * kMiB},
      {"org/m7", ModelLayout::kHubCache, 7 * kMiB}, {"m8", ModelLayout::kShards, 8 * kMiB},
  };
  return models;
}

const HistoryModel* FindHistoryModel(absl::string_view name) {
  const std::vector<HistoryModel>& models = HistoryModels();
  const auto found = std::find_if(models.begin(), models.end(),
                                  [&](const HistoryModel& model) { return model.name == name; });
  return found == models.end() ? nullptr : &*found;
}

std::vector<TensorSpec> VersionSpecs(const HistoryModel& model, uint64_t version) {
  return SmallTensorSpecs(8 + version % 5, model.bytes);
}

uint64_t VersionShards(const HistoryModel& model, uint64_t version) {
  return model.layout == ModelLayout::kShards ? 2 + version % 3 : 1;
}

// No two are alike: FillTensorBytes mixes it.
uint64_t VersionSeed(const HistoryModel& model, uint64_t version) {
  const std::vector<HistoryModel>& models = HistoryModels();
  return version * models.size() + static_cast<uint64_t>(&model - models.data());
}

std::string VersionRevision(uint64_t version) { return absl::StrFormat("%040x", version); }

}  // namespace weightd::testing
