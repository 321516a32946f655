#ifndef WEIGHTD_DAEMON_FORMAT_SHA256_SUMS_H_
#define WEIGHTD_DAEMON_FORMAT_SHA256_SUMS_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/format/sha256.h"

// What sha256sum(1) of GNU coreutils writes for the files of a directory, a line for each:
//
//   <64 hexadecimal digits> <' ' or '*'><name>
//
// A line that begins with '\' has "\\", "\n" and "\r" in its name for those characters. Empty lines
// and those that begin with '#' say nothing. Thread-safe: a pure function.

namespace weightd {

// Whose name a checkpoint's publisher gives such a list.
inline constexpr absl::string_view kSha256Sums = "SHA256SUMS";
inline constexpr uint64_t kSha256SumsBytesMax = uint64_t{16} << 20;

// What one file of a checkpoint must be.
struct FileSum {
  uint32_t shard_index = 0;
  Sha256 sha256 = {};  // of the whole file
  std::string source;  // who says so, for messages
};

// By name, without "./" before it. DATA_LOSS/CHECKPOINT_INVALID with path and line for a line that
// is none of these, and for a name that has two different sums.
absl::StatusOr<absl::flat_hash_map<std::string, Sha256>> ParseSha256Sums(absl::string_view text,
                                                                         absl::string_view path);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_SHA256_SUMS_H_
