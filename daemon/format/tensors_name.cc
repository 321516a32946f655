#include "daemon/format/tensors_name.h"

#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/printable_text.h"
#include "common/status_macros.h"
#include "daemon/format/json_reader.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr char kPathMark = '\x1e';

absl::Status Wrong(absl::string_view raw, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("name ", Quoted(raw), ": ", why));
}

// An array of keys, and nothing else.
class PathHandler final : public JsonHandler {
 public:
  absl::Status StartObject() override { return Unwanted(); }
  absl::Status EndObject() override { return Unwanted(); }
  absl::Status StartArray() override {
    if (std::exchange(in_array_, true)) return Unwanted();
    return absl::OkStatus();
  }
  absl::Status EndArray() override { return absl::OkStatus(); }
  absl::Status Key(absl::string_view /*key*/) override { return Unwanted(); }
  absl::Status Scalar(const JsonScalar& scalar) override {
    if (!in_array_) return Unwanted();
    if (scalar.kind == JsonScalar::Kind::kString) {
      path.emplace_back(std::string(scalar.text));
    } else if (scalar.kind == JsonScalar::Kind::kUnsigned) {
      path.emplace_back(scalar.number);
    } else {
      return JsonError(absl::StrCat("got ", scalar.Describe(), ", wanted a string or an index"));
    }
    return absl::OkStatus();
  }

  std::vector<TensorsKey> path;

 private:
  static absl::Status Unwanted() { return JsonError("wanted one array of strings and indices"); }
  bool in_array_ = false;
};

std::string KeyText(const TensorsKey& key) {
  if (const auto* text = std::get_if<std::string>(&key)) return *text;
  return absl::StrCat(std::get<uint64_t>(key));
}

}  // namespace

absl::StatusOr<TensorsName> ParseTensorsName(absl::string_view raw) {
  if (raw.empty()) return Wrong(raw, "empty");
  if (FindInvalidUtf8(raw) != absl::string_view::npos) return Wrong(raw, "not UTF-8");
  TensorsName name;
  if (raw.front() != kPathMark) {
    name.text = std::string(raw);
    name.path.emplace_back(name.text);
    return name;
  }
  const absl::string_view json = raw.substr(1);
  if (!absl::StartsWith(json, "[") || !absl::EndsWith(json, "]")) {
    return Wrong(raw, "wanted a JSON array behind 1E");
  }
  if (json.find_first_of("\n\r") != absl::string_view::npos) {
    return Wrong(raw, "line breaks are not allowed in a path");
  }
  PathHandler handler;
  if (absl::Status status = ReadJson({.text = std::string(json), .what = "path"}, handler);
      !status.ok()) {
    return Wrong(raw, status.message());
  }
  if (handler.path.empty()) return Wrong(raw, "a path without keys");
  name.path = std::move(handler.path);
  name.is_path = true;
  name.text = absl::StrJoin(name.path, ".", [](std::string* out, const TensorsKey& key) {
    absl::StrAppend(out, KeyText(key));
  });
  if (name.text.empty()) return Wrong(raw, "empty");
  return name;
}

std::string FormatTensorsName(absl::string_view text) {
  if (!absl::StartsWith(text, absl::string_view(&kPathMark, 1))) return std::string(text);
  return absl::StrCat(absl::string_view(&kPathMark, 1), "[", JsonString(text), "]");
}

absl::Status TensorsNameSet::Add(const TensorsName& name) {
  const auto conflict = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name.text), " ", why));
  };
  uint64_t level = 0;
  for (const TensorsKey& key : name.path) {
    if (level != 0 && leaves_.contains(level)) {
      return conflict("lies below a name that is itself a tensor");
    }
    const auto [found, is_new] = levels_.emplace(level, key.index());
    if (!is_new && found->second != key.index()) {
      return conflict("has a key where others have an index, or an index where others have a key");
    }
    level = absl::HashOf(level, key);
  }
  if (!leaves_.insert(level).second || !texts_.insert(name.text).second) {
    return conflict("occurs twice");
  }
  if (levels_.contains(level)) return conflict("has others below it");
  return absl::OkStatus();
}

}  // namespace weightd
