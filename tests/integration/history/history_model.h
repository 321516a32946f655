#ifndef WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_MODEL_H_
#define WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/support/checkpoints/tensor_specs.h"

// The models of the history test: which tensors version N of a model has and what is in them, as a
// pure function, so that any process can tell any byte. The name and the version stand in the
// checkpoint's `__metadata__`; every byte depends on both. Thread-safe.

namespace weightd::testing {

// How a model lies on the volume, and so how it is replaced there.
enum class ModelLayout {
  kFile,       // m.safetensors
  kDirectory,  // m/model.safetensors
  kShards,     // m/model-0000i-of-0000n.safetensors and an index
  kHubCache,   // models--org--m/snapshots/<revision>
};

struct HistoryModel {
  std::string name;
  ModelLayout layout = ModelLayout::kFile;
  uint64_t bytes = 0;  // of its tensors, as far as it divides
};

// Eight models of 1 to 8 MiB.
const std::vector<HistoryModel>& HistoryModels();
// Null for a name that is not among them.
const HistoryModel* FindHistoryModel(absl::string_view name);

// Their number differs from version to version.
std::vector<TensorSpec> VersionSpecs(const HistoryModel& model, uint64_t version);
uint64_t VersionShards(const HistoryModel& model, uint64_t version);
// For FillTensorBytes. `model` is one of HistoryModels().
uint64_t VersionSeed(const HistoryModel& model, uint64_t version);
// Of a hub cache's snapshot.
std::string VersionRevision(uint64_t version);

// Keys of `__metadata__`.
inline constexpr char kModelKey[] = "model";
inline constexpr char kVersionKey[] = "version";

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_MODEL_H_
