#include "daemon/residency/node_features.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"

namespace weightd {
namespace {

constexpr size_t kLabelNameMax = 63;
constexpr size_t kHashDigits = 8;

bool IsLabelCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
}

bool IsLabelName(absl::string_view name) {
  return !name.empty() && name.size() <= kLabelNameMax &&
         std::all_of(name.begin(), name.end(), IsLabelCharacter) &&
         absl::ascii_isalnum(static_cast<unsigned char>(name.front())) &&
         absl::ascii_isalnum(static_cast<unsigned char>(name.back()));
}

struct Place {
  bool on_gpu = false;
  absl::Time last_use = absl::InfinitePast();
};

}  // namespace

std::string NodeFeatureName(absl::string_view model) {
  const std::string dashed = absl::StrReplaceAll(model, {{"/", "--"}});
  if (IsLabelName(dashed)) return dashed;
  std::string name;
  for (const char c : dashed) {
    const bool may_begin = absl::ascii_isalnum(static_cast<unsigned char>(c));
    if (name.empty() ? may_begin : IsLabelCharacter(c)) name.push_back(c);
  }
  name.resize(std::min(name.size(), kLabelNameMax - kHashDigits - 1));
  const auto hash = static_cast<uint32_t>(XXH3_64bits(model.data(), model.size()));
  return absl::StrCat(name, name.empty() ? "" : "-", absl::StrFormat("%08x", hash));
}

std::string FormatNodeFeatures(const std::vector<CopyInfo>& copies, absl::Time now) {
  std::map<std::string, Place> places;
  for (const CopyInfo& copy : copies) {
    const bool is_found = copy.state == ResidencyState::kResident && !copy.superseded &&
                          !copy.damaged && copy.asked_revision.empty();
    if (!is_found) continue;
    Place& place = places[copy.model];
    place.on_gpu = place.on_gpu || copy.device_kind == DeviceKind::kCuda;
    place.last_use = std::max(place.last_use, copy.last_use);
  }
  std::vector<std::pair<absl::Time, std::string>> by_use;
  for (const auto& [model, place] : places) by_use.emplace_back(place.last_use, model);
  std::sort(by_use.rbegin(), by_use.rend());
  by_use.resize(std::min(by_use.size(), kNodeFeaturesMax));
  std::vector<std::string> lines;
  for (const auto& [last_use, model] : by_use) {
    lines.push_back(absl::StrCat(kNodeFeaturePrefix, NodeFeatureName(model), "=",
                                 places[model].on_gpu ? "device" : "host", "\n"));
  }
  std::sort(lines.begin(), lines.end());
  std::string text = absl::StrCat(
      "# +expiry-time=",
      absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", now + kNodeFeaturesValid, absl::UTCTimeZone()), "\n");
  for (const std::string& line : lines) absl::StrAppend(&text, line);
  return text;
}

}  // namespace weightd
