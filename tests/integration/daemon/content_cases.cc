#include "tests/integration/daemon/content_cases.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/checkpoints/tensors_writer.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

// All weight files below `directory`, links followed.
std::vector<std::string> WeightFiles(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string path = entry.path().string();
    if (absl::EndsWith(path, ".safetensors")) files.push_back(path);
  }
  EXPECT_FALSE(files.empty()) << directory;
  return files;
}

ContentCase WriteOne(const std::string& root, const std::string& model,
                     const std::vector<TensorSpec>& specs, const WriteOptions& options) {
  const std::string path = absl::StrCat(root, "/", model, ".safetensors");
  EXPECT_OK(WriteSafetensors(path, specs, options));
  return {.model = model, .files = {path}};
}

// `path`, below the root and without suffix, as .tensors; its twin as safetensors beside the root.
std::string WriteTwins(const std::string& root, const std::string& path,
                       const std::vector<TensorSpec>& specs, const TensorsOptions& options) {
  EXPECT_OK(WriteTensors(absl::StrCat(root, "/", path, ".tensors"), specs, options));
  const std::string twin = absl::StrCat(root, "-twins/", path, ".safetensors");
  EXPECT_OK(WriteSafetensors(twin, specs));
  return twin;
}

}  // namespace

ContentCase SingleFile(const std::string& root) {
  return WriteOne(root, "single", LlamaSpecs(24'000'000), {});
}

ContentCase Shards(const std::string& root) {
  const std::string directory = root + "/nested/shards";
  EXPECT_OK(WriteSharded(directory, LlamaSpecs(32'000'000), 4));
  return {.model = "nested/shards", .files = WeightFiles(directory)};
}

ContentCase HubCache(const std::string& root) {
  EXPECT_OK(WriteHubCache(root, "org/name", kHubRevision, LlamaSpecs(16'000'000), 2));
  return {.model = "org/name",
          .files = WeightFiles(absl::StrCat(root, "/models--org--name/snapshots/", kHubRevision))};
}

ContentCase Misaligned(const std::string& root) {
  std::vector<TensorSpec> specs = {{"a-byte", Dtype::kU8, {1}}};
  for (const Dtype dtype : {Dtype::kF16, Dtype::kF32, Dtype::kF64, Dtype::kC64, Dtype::kU8}) {
    specs.push_back({absl::StrCat("t-", DtypeName(dtype)), dtype, {1000, 999}});
  }
  WriteOptions options;
  options.keep_order = true;
  options.header_alignment = 1;
  // One more letter until the header's length is odd.
  std::string filler = "x";
  do {
    options.metadata = {{"filler", filler}};
    filler += "x";
  } while (SafetensorsHeaderText(specs, options).size() % 2 == 0);
  return WriteOne(root, "misaligned", specs, options);
}

ContentCase ManyTensors(const std::string& root) {
  return WriteOne(root, "many", SmallTensorSpecs(10'000, uint64_t{10'000} * 300), {});
}

ContentCase AllDtypes(const std::string& root) {
  std::vector<TensorSpec> specs;
  for (int value = 1; value <= kSafetensorsDtypeCount; ++value) {
    const Dtype dtype = *DtypeFromValue(value);
    const std::string name(DtypeName(dtype));
    if (DtypeBits(dtype) % 8 == 0) specs.push_back({name + "-scalar", dtype, {}});
    specs.push_back({name + "-empty", dtype, {3, 0, 5}});
    specs.push_back({name + "-matrix", dtype, {3, 8}});
  }
  return WriteOne(root, "dtypes", specs, {});
}

ContentCase NoTensors(const std::string& root) { return WriteOne(root, "empty", {}, {}); }

ContentCase Tensors(const std::string& root) {
  return {.model = "t", .files = {WriteTwins(root, "t", LlamaSpecs(24'000'000), {})}};
}

ContentCase TensorsAligned(const std::string& root) {
  const TensorsOptions options = {.alignment = 256};
  return {.model = "t", .files = {WriteTwins(root, "t", LlamaSpecs(24'000'000), options)}};
}

ContentCase TensorsShards(const std::string& root) {
  ContentCase content = {.model = "nested/t", .files = {}};
  const std::vector<TensorSpec> specs = LlamaSpecs(24'000'000);
  uint64_t index = 0;
  for (const std::vector<TensorSpec>& shard : SplitSpecs(specs, 3)) {
    const std::string path = absl::StrCat("nested/t/model-", index++);
    content.files.push_back(WriteTwins(root, path, shard, {}));
  }
  return content;
}

ContentCase TensorsWithoutIndex(const std::string& root) {
  const TensorsOptions options = {.has_index = false};
  return {.model = "t", .files = {WriteTwins(root, "t", LlamaSpecs(4'000'000), options)}};
}

ContentCase TensorsManySmall(const std::string& root) {
  const std::vector<TensorSpec> specs = SmallTensorSpecs(5'000, uint64_t{5'000} * 300);
  return {.model = "t", .files = {WriteTwins(root, "t", specs, {})}};
}

ContentCase TensorsDtypes(const std::string& root) {
  return {.model = "t", .files = {WriteTwins(root, "t", SharedDtypeSpecs(), {})}};
}

}  // namespace weightd::testing
