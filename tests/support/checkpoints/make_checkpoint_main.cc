// weightd_make_checkpoint: writes a test checkpoint whose content follows from names and a seed.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "common/format_units.h"
#include "tests/support/checkpoints/checkpoint_writer.h"

namespace {

using weightd::testing::TensorSpec;

constexpr uint64_t kLlamaBytesMin = uint64_t{1} << 20;

struct Arguments {
  std::string dir;
  std::string size = "10MiB";
  std::string layout = "sharded";
  std::string model = "test-org/test-model";
  std::string revision = "0123456789abcdef0123456789abcdef01234567";
  uint64_t shards = 1;
  uint64_t tensors = 0;
  uint64_t seed = 1;
};

// "2GiB", "10MB", "4096".
bool ParseSize(const std::string& text, uint64_t* bytes) {
  static const std::vector<std::pair<std::string, uint64_t>> kUnits = {{"KiB", uint64_t{1} << 10},
                                                                       {"MiB", uint64_t{1} << 20},
                                                                       {"GiB", uint64_t{1} << 30},
                                                                       {"TiB", uint64_t{1} << 40},
                                                                       {"kB", 1'000},
                                                                       {"KB", 1'000},
                                                                       {"MB", 1'000'000},
                                                                       {"GB", 1'000'000'000},
                                                                       {"TB", 1'000'000'000'000},
                                                                       {"B", 1}};
  std::string digits = text;
  uint64_t scale = 1;
  for (const auto& [unit, factor] : kUnits) {
    if (digits.size() <= unit.size() || !digits.ends_with(unit)) continue;
    digits.resize(digits.size() - unit.size());
    scale = factor;
    break;
  }
  uint64_t count = 0;
  return absl::SimpleAtoi(digits, &count) && !__builtin_mul_overflow(count, scale, bytes);
}

absl::Status Write(const Arguments& arguments, const std::vector<TensorSpec>& specs) {
  const weightd::testing::WriteOptions options = {.seed = arguments.seed};
  if (arguments.layout == "single") {
    return WriteSafetensors(arguments.dir + "/model.safetensors", specs, options);
  }
  if (arguments.layout == "hub") {
    return WriteHubCache(arguments.dir, arguments.model, arguments.revision, specs,
                         arguments.shards, options);
  }
  return WriteSharded(arguments.dir, specs, arguments.shards, options);
}

int Run(const Arguments& arguments) {
  uint64_t bytes = 0;
  if (!ParseSize(arguments.size, &bytes)) {
    std::fprintf(stderr,
                 "weightd_make_checkpoint: --size %s: wanted a number and B, kB, MB, GB, TB, KiB, "
                 "MiB, GiB or TiB\n",
                 arguments.size.c_str());
    return 2;
  }
  if (arguments.tensors == 0 && bytes < kLlamaBytesMin) {
    std::fprintf(stderr, "weightd_make_checkpoint: --size %s: wanted at least 1MiB, or --tensors\n",
                 arguments.size.c_str());
    return 2;
  }
  const std::vector<TensorSpec> specs =
      arguments.tensors == 0 ? weightd::testing::LlamaSpecs(bytes)
                             : weightd::testing::SmallTensorSpecs(arguments.tensors, bytes);
  if (arguments.shards > specs.size()) {
    std::fprintf(stderr, "weightd_make_checkpoint: --shards %llu: there are only %zu tensors\n",
                 static_cast<unsigned long long>(arguments.shards), specs.size());
    return 2;
  }
  if (const absl::Status status = Write(arguments, specs); !status.ok()) {
    std::fprintf(stderr, "weightd_make_checkpoint: %s\n", status.ToString().c_str());
    return 1;
  }
  std::printf("wrote %zu tensors, %s, to %s\n", specs.size(),
              weightd::FormatBytes(weightd::testing::SpecBytes(specs)).c_str(),
              arguments.dir.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(
      "Writes a safetensors checkpoint with the tensors of a small Llama and content that "
      "follows from their names and the seed.");
  app.add_option("dir", arguments.dir, "directory of the checkpoint; for a hub cache its root")
      ->required();
  app.add_option("--size", arguments.size, "bytes of all tensors: 2GiB, 10MB")
      ->capture_default_str();
  app.add_option("--shards", arguments.shards, "number of files")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--layout", arguments.layout,
                 "single: one file; sharded: files and an index; hub: a Hugging Face cache")
      ->check(CLI::IsMember({"single", "sharded", "hub"}))
      ->capture_default_str();
  app.add_option("--tensors", arguments.tensors,
                 "this many tensors of equal size instead of a Llama's")
      ->check(CLI::Range(1, 16'000'000));
  app.add_option("--model", arguments.model, "org/name for --layout hub")->capture_default_str();
  app.add_option("--revision", arguments.revision, "snapshot for --layout hub")
      ->capture_default_str();
  app.add_option("--seed", arguments.seed, "content differs where the seed does")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return Run(arguments);
}
