#include "daemon/format/safetensors_index.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/format/json_reader.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr uint64_t kTensorsCeiling = 16'000'000;
constexpr uint64_t kShardsCeiling = 65'536;
constexpr size_t kFileNameBytesMax = 255;  // NAME_MAX of Linux
// An entry with two short names; real ones are longer. Decides what is reserved.
constexpr size_t kEntryBytesGuess = 60;
constexpr size_t kTensorNameBytesMax = 65'535;  // as in a header

absl::Status LimitExceeded(absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded, message);
}

// A name that can only mean a file beside the index.
bool IsPlainFileName(absl::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > kFileNameBytesMax) return false;
  return std::none_of(name.begin(), name.end(), [](char c) {
    return c == '/' || c == '\\' || absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
}

// Thread-compatible; used for one text. Shards are numbered in the order of their first mention.
class IndexHandler final : public JsonHandler {
 public:
  IndexHandler(const SafetensorsIndexLimits& limits, size_t entries_hint) : limits_(limits) {
    index_.entries.reserve(entries_hint);
  }

  absl::Status StartObject() override {
    if (at_ == At::kStart) return GoTo(At::kRoot);
    if (at_ == At::kMap) return GoTo(At::kMapKey);
    if (at_ == At::kMetadata && depth_ == 0) is_metadata_object_ = true;
    return StartIgnored("an object");
  }
  absl::Status StartArray() override { return StartIgnored("an array"); }

  absl::Status EndObject() override {
    if (at_ == At::kMapKey) return GoTo(At::kRoot);
    return EndIgnored();
  }
  absl::Status EndArray() override { return EndIgnored(); }

  absl::Status Key(absl::string_view key) override {
    if (at_ == At::kMapKey) return TensorName(key);
    if (at_ == At::kRoot) return RootKey(key);
    is_total_size_ = is_metadata_object_ && depth_ == 1 && key == "total_size";
    return absl::OkStatus();
  }

  absl::Status Scalar(const JsonScalar& scalar) override {
    if (at_ == At::kMapValue && scalar.kind == JsonScalar::Kind::kString) {
      return ShardName(scalar.text);
    }
    if (at_ == At::kMetadata || at_ == At::kUnknown) {
      if (std::exchange(is_total_size_, false) && scalar.kind == JsonScalar::Kind::kUnsigned) {
        index_.total_size = scalar.number;
      }
      if (depth_ == 0) at_ = At::kRoot;
      return absl::OkStatus();
    }
    return Unexpected(scalar.Describe());
  }

  bool has_map() const { return has_map_; }
  SafetensorsIndex Take() { return std::move(index_); }

 private:
  // kMetadata and kUnknown: in the value of a key of the outer object, `depth_` levels down.
  enum class At { kStart, kRoot, kMap, kMapKey, kMapValue, kMetadata, kUnknown };

  absl::Status GoTo(At at) {
    at_ = at;
    return absl::OkStatus();
  }

  absl::Status StartIgnored(absl::string_view what) {
    if (at_ != At::kMetadata && at_ != At::kUnknown) return Unexpected(what);
    is_total_size_ = false;
    ++depth_;
    return absl::OkStatus();
  }

  absl::Status EndIgnored() {
    if (depth_ > 0 && --depth_ == 0) at_ = At::kRoot;
    return absl::OkStatus();
  }

  absl::Status RootKey(absl::string_view key) {
    depth_ = 0;
    is_metadata_object_ = false;
    if (key == "weight_map") {
      if (std::exchange(has_map_, true)) return JsonError("weight_map occurs twice");
      return GoTo(At::kMap);
    }
    if (key == "metadata") {
      if (std::exchange(has_metadata_, true)) return JsonError("metadata occurs twice");
      return GoTo(At::kMetadata);
    }
    return GoTo(At::kUnknown);
  }

  absl::Status TensorName(absl::string_view name) {
    if (name.size() > kTensorNameBytesMax) {
      return LimitExceeded(absl::StrCat("tensor ", Quoted(name), " has a name of ", name.size(),
                                        " bytes, at most ", kTensorNameBytesMax, " are allowed"));
    }
    if (index_.entries.size() >= limits_.tensors_max) {
      return LimitExceeded(
          absl::StrCat("more tensors than the ", limits_.tensors_max, " that are allowed"));
    }
    index_.entries.emplace_back().tensor.assign(name.data(), name.size());
    return GoTo(At::kMapValue);
  }

  absl::Status ShardName(absl::string_view name) {
    SafetensorsIndex::Entry& entry = index_.entries.back();
    // Neighbours mostly lie in one file.
    if (!index_.shards.empty() && index_.shards[last_shard_] == name) {
      entry.shard_index = last_shard_;
      return GoTo(At::kMapKey);
    }
    if (!IsPlainFileName(name)) {
      return ErrorWithReason(absl::StatusCode::kPermissionDenied, Reason::kPathOutsideRoot,
                             absl::StrCat("tensor ", Quoted(entry.tensor), " lies in ",
                                          Quoted(name), ", wanted a plain file name"));
    }
    const auto found = shard_numbers_.find(name);
    if (found != shard_numbers_.end()) {
      entry.shard_index = last_shard_ = found->second;
      return GoTo(At::kMapKey);
    }
    if (index_.shards.size() >= limits_.shards_max) {
      return LimitExceeded(
          absl::StrCat("more shards than the ", limits_.shards_max, " that are allowed"));
    }
    entry.shard_index = last_shard_ = static_cast<uint32_t>(index_.shards.size());
    index_.shards.emplace_back(name);
    shard_numbers_.emplace(index_.shards.back(), entry.shard_index);
    return GoTo(At::kMapKey);
  }

  absl::Status Unexpected(absl::string_view got) const {
    if (at_ == At::kStart) {
      return JsonError(absl::StrCat("found ", got, ", wanted an object with weight_map"));
    }
    if (at_ == At::kMap) {
      return JsonError(absl::StrCat("weight_map is ", got, ", wanted an object of file names"));
    }
    return JsonError(absl::StrCat("tensor ", Quoted(index_.entries.back().tensor), " has ", got,
                                  ", wanted the name of its file"));
  }

  const SafetensorsIndexLimits limits_;
  At at_ = At::kStart;
  uint32_t depth_ = 0;
  bool has_map_ = false;
  bool has_metadata_ = false;
  bool is_metadata_object_ = false;
  bool is_total_size_ = false;  // the next value is metadata.total_size
  SafetensorsIndex index_;
  uint32_t last_shard_ = 0;  // of the last entry, once there is one
  absl::flat_hash_map<std::string, uint32_t> shard_numbers_;
};

// Puts the shards into the order of their names.
void SortShards(SafetensorsIndex& index) {
  std::vector<uint32_t> order(index.shards.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return index.shards[a] < index.shards[b]; });
  std::vector<std::string> sorted;
  std::vector<uint32_t> new_index(order.size());
  for (const uint32_t old : order) {
    new_index[old] = static_cast<uint32_t>(sorted.size());
    sorted.push_back(std::move(index.shards[old]));
  }
  index.shards = std::move(sorted);
  for (SafetensorsIndex::Entry& entry : index.entries) {
    entry.shard_index = new_index[entry.shard_index];
  }
}

absl::Status CheckNamesUnique(const SafetensorsIndex& index) {
  // Most writers sort the names.
  using Entry = SafetensorsIndex::Entry;
  const auto not_ascending = [](const Entry& a, const Entry& b) { return a.tensor >= b.tensor; };
  if (std::adjacent_find(index.entries.begin(), index.entries.end(), not_ascending) ==
      index.entries.end()) {
    return absl::OkStatus();
  }
  absl::flat_hash_set<absl::string_view> names;
  names.reserve(index.entries.size());
  for (const SafetensorsIndex::Entry& entry : index.entries) {
    if (!names.insert(entry.tensor).second) {
      return JsonError(absl::StrCat("tensor ", Quoted(entry.tensor), " occurs twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SafetensorsIndexLimits::Validate() const {
  const auto check = [](absl::string_view name, uint64_t value, uint64_t max) {
    if (value >= 1 && value <= max) return absl::OkStatus();
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                           absl::StrCat(name, " is ", value, ", wanted 1 to ", max));
  };
  RETURN_IF_ERROR(check("tensors_max", tensors_max, kTensorsCeiling));
  return check("shards_max", shards_max, kShardsCeiling);
}

absl::StatusOr<SafetensorsIndex> ParseSafetensorsIndex(std::string text, absl::string_view path,
                                                       const SafetensorsIndexLimits& limits) {
  const std::string what = absl::StrCat("index ", path);
  const auto with_path = [&](const absl::Status& status) {
    return Annotate(status, absl::StrCat("read ", what));
  };
  if (text.size() > kSafetensorsIndexBytesMax) {
    return with_path(LimitExceeded(absl::StrCat("it has ", text.size(), " bytes, at most ",
                                                kSafetensorsIndexBytesMax, " are allowed")));
  }
  IndexHandler handler(limits,
                       std::min<uint64_t>(text.size() / kEntryBytesGuess, limits.tensors_max));
  RETURN_IF_ERROR(ReadJson({.text = std::move(text), .what = what}, handler));
  if (!handler.has_map()) return with_path(JsonError("no weight_map"));
  SafetensorsIndex index = handler.Take();
  if (index.entries.empty()) return with_path(JsonError("weight_map names no tensor"));
  RETURN_IF_ERROR(with_path(CheckNamesUnique(index)));
  SortShards(index);
  return index;
}

}  // namespace weightd
