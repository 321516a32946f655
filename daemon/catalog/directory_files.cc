#include "daemon/catalog/directory_files.h"

#include <algorithm>
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

// "x-00002-of-00003.safetensors" -> ("x", 3).
std::optional<std::pair<std::string, uint32_t>> ParseShardName(absl::string_view name) {
  constexpr size_t kTailBytes = 1 + kNumberDigits + kOf.size() + kNumberDigits;
  name = absl::StripSuffix(name, kWeightsSuffix);
  if (name.size() < kTailBytes) return std::nullopt;
  const absl::string_view tail = name.substr(name.size() - kTailBytes);
  const auto number = ParseNumber(tail.substr(1, kNumberDigits));
  const auto total = ParseNumber(tail.substr(tail.size() - kNumberDigits));
  if (tail[0] != '-' || tail.substr(1 + kNumberDigits, kOf.size()) != kOf) return std::nullopt;
  if (!number.has_value() || !total.has_value() || *number < 1 || *number > *total) {
    return std::nullopt;
  }
  return std::pair(std::string(name.substr(0, name.size() - kTailBytes)), *total);
}

}  // namespace

WeightFiles SelectWeightFiles(const std::vector<DirEntry>& entries) {
  WeightFiles files;
  for (const DirEntry& entry : entries) {
    if (entry.kind != DirEntry::Kind::kFile || !IsVisibleName(entry.name)) continue;
    const bool has_stem = entry.name != kWeightsSuffix && entry.name != kIndexSuffix;
    if (!has_stem) continue;
    if (absl::EndsWith(entry.name, kWeightsSuffix)) files.weights.push_back(entry.name);
    if (absl::EndsWith(entry.name, kIndexSuffix)) files.indexes.push_back(entry.name);
  }
  return files;
}

std::vector<std::string> CompleteShards(std::vector<std::string> weights, uint32_t shards_max) {
  std::set<std::pair<std::string, uint32_t>> sets;
  for (const std::string& name : weights) {
    if (auto set = ParseShardName(name); set.has_value()) sets.insert(*std::move(set));
  }
  for (const auto& [stem, total] : sets) {
    if (total > shards_max) continue;
    for (uint32_t i = 1; i <= total; ++i) {
      weights.push_back(absl::StrFormat("%s-%05d-of-%05d%s", stem, i, total, kWeightsSuffix));
    }
  }
  std::sort(weights.begin(), weights.end());
  weights.erase(std::unique(weights.begin(), weights.end()), weights.end());
  return weights;
}

}  // namespace weightd
