#ifndef WEIGHTD_DAEMON_CATALOG_DIRECTORY_FILES_H_
#define WEIGHTD_DAEMON_CATALOG_DIRECTORY_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "daemon/format/manifest.h"
#include "daemon/storage/volume.h"

// Which files of one directory belong to a checkpoint, by their names. Thread-safe: pure functions.

namespace weightd {

inline constexpr absl::string_view kSafetensorsSuffix = ".safetensors";
inline constexpr absl::string_view kTensorsSuffix = ".tensors";
inline constexpr absl::string_view kIndexSuffix = ".safetensors.index.json";

// The format of a weight file, by its name.
FileFormat FormatOf(absl::string_view path);
// "x" of "x.safetensors" and "x.tensors".
std::string WithoutWeightsSuffix(absl::string_view name);

struct WeightFiles {
  std::vector<std::string> safetensors;  // *.safetensors, sorted
  std::vector<std::string> tensors;      // *.tensors, sorted
  std::vector<std::string> indexes;      // *.safetensors.index.json, sorted
  std::vector<std::string> unspeakable;  // of all of these, with IsUnspeakableName(); sorted

  bool empty() const {
    return safetensors.empty() && tensors.empty() && indexes.empty() && unspeakable.empty();
  }
  // Those that count where a directory is one model: *.tensors only where there is nothing else.
  const std::vector<std::string>& of_directory() const {
    return safetensors.empty() && indexes.empty() ? tensors : safetensors;
  }
  // Where a directory without an index is one model: a file that counts and cannot be named; empty
  // if there is none.
  std::string missed_of_directory() const;
};
WeightFiles SelectWeightFiles(const std::vector<DirEntry>& entries);

// `weights` and, where one is called "x-00001-of-00003.safetensors", the names of the other two,
// whether they are there or not: a checkpoint that is still being copied must not pass for a
// smaller one. Sorted. Totals above `shards_max` are not followed, and with more names
// than that none is added.
std::vector<std::string> CompleteShards(const std::vector<std::string>& weights,
                                        uint32_t shards_max);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_CATALOG_DIRECTORY_FILES_H_
