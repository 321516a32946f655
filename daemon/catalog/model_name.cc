#include "daemon/catalog/model_name.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/errors.h"
#include "common/printable_text.h"
#include "daemon/catalog/catalog.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr absl::string_view kHubPrefix = "models--";
constexpr size_t kSpeakableBytesMax = 128;
constexpr size_t kNearMissesMax = 3;
constexpr size_t kComparedNamesMax = 10'000;
// Of pairs of characters, in all: some 15 ms. A directory may list 10,000 names of 500 bytes, and
// who asks for one like them has others wait meanwhile.
constexpr size_t kComparisonsMax = 8'000'000;

bool HasControlCharacter(absl::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); });
}

// Levenshtein distance.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

absl::string_view LastComponent(absl::string_view name) {
  const size_t slash = name.rfind('/');
  return slash == absl::string_view::npos ? name : name.substr(slash + 1);
}

}  // namespace

std::string JoinPath(absl::string_view directory, absl::string_view name) {
  return absl::StrCat(directory, directory.empty() || name.empty() ? "" : "/", name);
}

bool IsVisibleName(absl::string_view name) {
  return !name.empty() && name[0] != '.' && name.find('/') == absl::string_view::npos &&
         !HasControlCharacter(name) && FindInvalidUtf8(name) == absl::string_view::npos;
}

bool IsUnspeakableName(absl::string_view name) {
  return !name.empty() && name[0] != '.' && name.find('/') == absl::string_view::npos &&
         !IsVisibleName(name);
}

std::string SpeakableName(absl::string_view name) {
  const std::string text = PrintableText(name);
  if (text.size() <= kSpeakableBytesMax) return text;
  // Not within a character.
  size_t end = kSpeakableBytesMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return absl::StrCat(text.substr(0, end), "...");
}

std::string UnspeakableText(absl::string_view name) {
  const bool is_utf8 = FindInvalidUtf8(name) == absl::string_view::npos;
  return absl::StrCat("the name ", Quoted(name),
                      is_utf8 ? " has a control character" : " is not UTF-8",
                      ", so that no request can have it; rename it");
}

bool IsHubDirectory(absl::string_view name) {
  return absl::StartsWith(name, kHubPrefix) && name.size() > kHubPrefix.size();
}

bool IsOtherHubDirectory(absl::string_view name) {
  return absl::StartsWith(name, "datasets--") || absl::StartsWith(name, "spaces--");
}

std::string ModelOfHubDirectory(absl::string_view name) {
  name.remove_prefix(kHubPrefix.size());
  const size_t dashes = name.find("--");
  if (dashes == absl::string_view::npos) return std::string(name);
  return absl::StrCat(name.substr(0, dashes), "/", name.substr(dashes + 2));
}

absl::Status ValidateModelName(absl::string_view model) {
  const auto invalid = [&](absl::string_view rule) {
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kPathOutsideRoot,
                           absl::StrCat("model name ", Quoted(model), ": ", rule));
  };
  if (model.empty()) return invalid("it is empty");
  if (model.size() > kModelNameBytesMax) {
    return invalid(
        absl::StrCat("it has ", model.size(), " bytes, wanted at most ", kModelNameBytesMax));
  }
  if (model[0] == '/') return invalid("it is an absolute path, wanted one below a root");
  if (HasControlCharacter(model)) return invalid("it contains a control character");
  if (FindInvalidUtf8(model) != absl::string_view::npos) return invalid("it is not valid UTF-8");
  if (model.find('@') != absl::string_view::npos) {
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                           absl::StrCat("model name ", Quoted(model),
                                        ": '@' separates a name from its generation or revision"));
  }
  for (const absl::string_view component : absl::StrSplit(model, '/')) {
    if (component.empty()) return invalid("it has an empty component");
    if (component == "." || component == "..") {
      return invalid(absl::StrCat("it contains the component ", Quoted(component)));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> NearMisses(absl::string_view model, absl::Span<const std::string> names) {
  const std::string wanted = absl::AsciiStrToLower(model);
  const size_t distance_max = std::max<size_t>(2, wanted.size() / 4);
  size_t comparisons_left = kComparisonsMax;
  std::vector<std::pair<size_t, std::string>> near;
  for (const std::string& name : names.first(std::min(names.size(), kComparedNamesMax))) {
    const std::string known = absl::AsciiStrToLower(name);
    if (LastComponent(known) == LastComponent(wanted)) {
      near.emplace_back(known == wanted ? 0 : 1, name);
      continue;
    }
    const size_t difference =
        std::max(known.size(), wanted.size()) - std::min(known.size(), wanted.size());
    const size_t comparisons = known.size() * wanted.size();
    if (difference > distance_max || comparisons > comparisons_left) continue;
    comparisons_left -= comparisons;
    const size_t distance = EditDistance(wanted, known);
    if (distance <= distance_max) near.emplace_back(distance + 1, name);
  }
  std::sort(near.begin(), near.end());
  std::vector<std::string> result;
  for (auto& [distance, name] : near) {
    if (result.size() < kNearMissesMax) result.push_back(std::move(name));
  }
  return result;
}

}  // namespace weightd
