#include "daemon/catalog/directory_files.h"

#include <algorithm>
#include <compare>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "daemon/catalog/model_name.h"

namespace weightd {
namespace {

constexpr size_t kNumberDigits = 5;
constexpr absl::string_view kOf = "-of-";

std::optional<uint32_t> ParseNumber(absl::string_view digits) {
  uint32_t number = 0;
  if (!std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(digits, &number)) {
    return std::nullopt;
  }
  return number;
}

absl::string_view SuffixOf(absl::string_view name) {
  return FormatOf(name) == FileFormat::kTensors ? kTensorsSuffix : kSafetensorsSuffix;
}

struct ShardSet {
  std::string stem;
  uint32_t total = 0;
  std::string suffix;
  // clang-tidy 14 takes the operator for a 0.
  friend auto operator<=>(const ShardSet&,
                          const ShardSet&) = default;  // NOLINT(modernize-use-nullptr)
};

// "x-00002-of-00003.safetensors" -> ("x", 3, ".safetensors").
std::optional<ShardSet> ParseShardName(absl::string_view name) {
  constexpr size_t kTailBytes = 1 + kNumberDigits + kOf.size() + kNumberDigits;
  const absl::string_view suffix = SuffixOf(name);
  name = absl::StripSuffix(name, suffix);
  if (name.size() < kTailBytes) return std::nullopt;
  const absl::string_view tail = name.substr(name.size() - kTailBytes);
  const auto number = ParseNumber(tail.substr(1, kNumberDigits));
  const auto total = ParseNumber(tail.substr(tail.size() - kNumberDigits));
  if (tail[0] != '-' || tail.substr(1 + kNumberDigits, kOf.size()) != kOf) return std::nullopt;
  if (!number.has_value() || !total.has_value() || *number < 1 || *number > *total) {
    return std::nullopt;
  }
  return ShardSet{std::string(name.substr(0, name.size() - kTailBytes)), *total,
                  std::string(suffix)};
}

}  // namespace

FileFormat FormatOf(absl::string_view path) {
  return absl::EndsWith(path, kTensorsSuffix) ? FileFormat::kTensors : FileFormat::kSafetensors;
}

std::string WithoutWeightsSuffix(absl::string_view name) {
  return std::string(absl::StripSuffix(name, SuffixOf(name)));
}

std::string WeightFiles::missed_of_directory() const {
  const bool tensors_count = &of_directory() == &tensors;
  const auto missed =
      std::find_if(unspeakable.begin(), unspeakable.end(), [&](const std::string& name) {
        return tensors_count || FormatOf(name) != FileFormat::kTensors;
      });
  return missed == unspeakable.end() ? "" : *missed;
}

WeightFiles SelectWeightFiles(const std::vector<DirEntry>& entries) {
  WeightFiles files;
  for (const DirEntry& entry : entries) {
    if (entry.kind != DirEntry::Kind::kFile) continue;
    const auto is = [&](absl::string_view suffix) {
      return absl::EndsWith(entry.name, suffix) && entry.name.size() > suffix.size();
    };
    if (!IsVisibleName(entry.name)) {
      const bool weights = is(kSafetensorsSuffix) || is(kTensorsSuffix) || is(kIndexSuffix);
      if (weights && IsUnspeakableName(entry.name)) files.unspeakable.push_back(entry.name);
      continue;
    }
    if (is(kSafetensorsSuffix)) files.safetensors.push_back(entry.name);
    if (is(kTensorsSuffix)) files.tensors.push_back(entry.name);
    if (is(kIndexSuffix)) files.indexes.push_back(entry.name);
  }
  return files;
}

std::vector<std::string> CompleteShards(const std::vector<std::string>& weights,
                                        uint32_t shards_max) {
  std::set<ShardSet> sets;
  for (const std::string& name : weights) {
    if (auto set = ParseShardName(name); set.has_value()) sets.insert(*std::move(set));
  }
  std::set<std::string> names(weights.begin(), weights.end());
  for (const ShardSet& set : sets) {
    if (set.total > shards_max) continue;
    // Those that are too many already need not be whole: thousands of sets would be millions.
    for (uint32_t i = 1; i <= set.total && names.size() <= shards_max; ++i) {
      names.insert(absl::StrFormat("%s-%05d-of-%05d%s", set.stem, i, set.total, set.suffix));
    }
  }
  return {names.begin(), names.end()};
}

}  // namespace weightd
