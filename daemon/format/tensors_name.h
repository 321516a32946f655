#ifndef WEIGHTD_DAEMON_FORMAT_TENSORS_NAME_H_
#define WEIGHTD_DAEMON_FORMAT_TENSORS_NAME_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Names in .tensors files (shared/formats.md 1.6.1): plain text, which is one key, or a path of
// keys, byte 1E and a JSON array:
//
//   model.layers.0.w      1E ["model","layers",0,"w"]
//
// Thread-safe: pure functions, but for TensorsNameSet.

namespace weightd {

using TensorsKey = std::variant<std::string, uint64_t>;  // of a mapping, of a sequence

struct TensorsName {
  // The keys joined with dots. Two paths can have one text; a file in which that happens is
  // refused.
  std::string text;
  std::vector<TensorsKey> path;  // one string for a plain name
  bool is_path = false;          // as written; ["w"] is the same name as w
};

// INVALID_ARGUMENT for what the format refuses: no name, bytes that are not UTF-8, and a path that
// is not a JSON array of strings and non-negative integers, or has a line break in it.
absl::StatusOr<TensorsName> ParseTensorsName(absl::string_view raw);

// The bytes that stand for a name of text: itself, or a path of one string where it begins with 1E.
std::string FormatTensorsName(absl::string_view text);

// The names of one file: each once, none both a leaf and a level, the keys of a level of one kind.
// Thread-compatible.
class TensorsNameSet {
 public:
  // INVALID_ARGUMENT with the conflict.
  absl::Status Add(const TensorsName& name);

 private:
  absl::flat_hash_set<std::string> texts_;
  // By hashes of their keys: a name of 64 KiB may have 30,000 levels, too many to keep as text. Two
  // with one hash would refuse a good file, once in 2^64.
  absl::flat_hash_set<uint64_t> leaves_;
  absl::flat_hash_map<uint64_t, size_t> levels_;  // with the kind of their keys
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TENSORS_NAME_H_
