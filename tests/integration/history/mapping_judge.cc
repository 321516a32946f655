#include "tests/integration/history/mapping_judge.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "client/cpp/cuda_mapping.h"

namespace weightd::testing {
namespace {

constexpr uint64_t kPartBytes = uint64_t{1} << 20;
constexpr uint64_t kOwnerBytes = 64;

// Whose `bytes` are, which stand at `offset` of a tensor of that name.
std::string OwnerOf(const std::string& tensor, uint64_t offset, absl::Span<const std::byte> bytes,
                    uint64_t version) {
  for (const HistoryModel& model : HistoryModels()) {
    for (uint64_t candidate = 1; candidate <= version + 100; ++candidate) {
      if (FindWrongByte(VersionSeed(model, candidate), tensor, offset, bytes) < 0) {
        return absl::StrCat(model.name, " version ", candidate);
      }
    }
  }
  return "nobody";
}

std::optional<std::string> WrongByte(const client::Tensor& tensor, const HistoryModel& model,
                                     uint64_t version) {
  const std::string name(tensor.name);
  std::vector<std::byte> copy;
  for (uint64_t done = 0; done < tensor.bytes;) {
    const uint64_t part = std::min(kPartBytes, tensor.bytes - done);
    const std::byte* from = static_cast<const std::byte*>(tensor.data) + done;
    if (tensor.device != "host") {
      copy.resize(part);
      const absl::Status copied =
          client::CopyFromGpu(std::string(tensor.device), from, copy.data(), part);
      if (!copied.ok()) return copied.ToString();
      from = copy.data();
    }
    const int64_t wrong =
        FindWrongByte(VersionSeed(model, version), name, done, absl::MakeSpan(from, part));
    if (wrong >= 0) {
      const uint64_t at = static_cast<uint64_t>(wrong);
      const absl::Span<const std::byte> sample(from + at, std::min(kOwnerBytes, part - at));
      return absl::StrCat("byte ", done + at, " is of ", OwnerOf(name, done + at, sample, version));
    }
    done += part;
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> VersionOf(const client::Mapping& mapping, const HistoryModel& model) {
  const auto name = mapping.metadata().find(kModelKey);
  const auto version = mapping.metadata().find(kVersionKey);
  uint64_t number = 0;
  if (name == mapping.metadata().end() || version == mapping.metadata().end() ||
      name->second != model.name || !absl::SimpleAtoi(version->second, &number)) {
    return std::nullopt;
  }
  return number;
}

std::optional<std::string> FindDifference(const client::Mapping& mapping, const HistoryModel& model,
                                          uint64_t version) {
  const std::vector<TensorSpec> specs = VersionSpecs(model, version);
  if (mapping.tensors().size() != specs.size()) {
    return absl::StrCat(mapping.tensors().size(), " tensors, wanted ", specs.size());
  }
  for (const TensorSpec& spec : specs) {
    const client::Tensor* tensor = mapping.Find(spec.name);
    if (tensor == nullptr) return absl::StrCat("no tensor ", spec.name);
    if (tensor->bytes != SpecBytes(spec)) {
      return absl::StrCat(spec.name, " has ", tensor->bytes, " bytes, wanted ", SpecBytes(spec));
    }
    if (const auto wrong = WrongByte(*tensor, model, version)) {
      return absl::StrCat(spec.name, ": ", *wrong);
    }
  }
  return std::nullopt;
}

}  // namespace weightd::testing
