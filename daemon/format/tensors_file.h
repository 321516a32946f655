#ifndef WEIGHTD_DAEMON_FORMAT_TENSORS_FILE_H_
#define WEIGHTD_DAEMON_FORMAT_TENSORS_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "daemon/format/manifest.h"

// Reads the beginning of a .tensors file and its index (shared/formats.md 1.3, 1.4).
//
//   | 73: file header | index | header 0 | data 0 | header 1 | data 1 | ... | 8: zero |
//   0                 73      73 + index_bytes                                         file size
//
// Stricter than the reference reader where that takes what cannot be right: see 1.12, last
// paragraph.
//
// Errors are DATA_LOSS/CHECKPOINT_INVALID with file, offset, rule, what was found and what was
// wanted; RESOURCE_EXHAUSTED/LIMIT_EXCEEDED for a file that may be valid but is beyond the limits.
// The metadata of both has `file`. Nothing is allocated by what a file says before it is known that
// the file has the bytes. Thread-safe: pure functions.

namespace weightd {

inline constexpr uint64_t kTensorsFileHeaderBytes = 73;
inline constexpr char kTensorsMagic[] = "|TZR|";
// A dimension takes four bytes.
inline constexpr uint64_t kTensorsDimensionMax = 4'294'967'295;

struct TensorsLimits {
  uint64_t index_bytes_max = uint64_t{256} << 20;  // 1..4 GiB; the reference writer's is 256 KiB
  uint64_t header_bytes_max = uint64_t{16} << 20;  // of one tensor, 1..256 MiB
  uint64_t tensors_max = 1'000'000;                // of one file, 1..16,000,000
  uint32_t rank_max = 64;                          // dimensions of a tensor, 1..64
  // What tensors without data may take in memory, all of a file together: they cost the file
  // nothing.
  uint64_t meta_bytes_max = uint64_t{1} << 30;  // 1..1 TiB
  // Of the key derivation; the highest presets of libsodium are 4 and 1 GiB.
  uint64_t derivation_operations_max = 16;                   // 1..1024
  uint64_t derivation_memory_bytes_max = uint64_t{1} << 30;  // 1..16 GiB
  absl::Status Validate() const;
};

struct TensorsFileHeader {
  uint32_t version = 0;  // 1 to 4
  bool is_encrypted = false;
  uint64_t tensor_count = 0;
  uint64_t index_bytes = 0;

  // Without an index the headers are found by going from one to the next. Files that were cut short
  // while they were written look like that too: they lack the terminator.
  bool has_index() const { return tensor_count > 0 && index_bytes > 0; }
  uint64_t first_header_offset() const { return kTensorsFileHeaderBytes + index_bytes; }
};

struct TensorsIndexEntry {
  std::string raw_name;
  TensorKind kind = TensorKind::kUnknown;
  std::string raw_dtype;
  Shape shape;
  uint64_t header_offset = 0;
  uint64_t data_offset = 0;
  uint64_t data_bytes = 0;

  uint64_t header_bytes() const { return data_offset - header_offset; }
};

// `prefix` is the first kTensorsFileHeaderBytes of the file, fewer only where the file has fewer;
// `path` is for messages.
absl::StatusOr<TensorsFileHeader> ParseTensorsFileHeader(absl::Span<const std::byte> prefix,
                                                         uint64_t file_bytes,
                                                         absl::string_view path,
                                                         const TensorsLimits& limits = {});

// `index` is what stands behind the file header, `header.index_bytes` of it. Entries are in the
// order of the file, their ranges inside it and disjoint.
absl::StatusOr<std::vector<TensorsIndexEntry>> ParseTensorsIndex(absl::Span<const std::byte> index,
                                                                 const TensorsFileHeader& header,
                                                                 uint64_t file_bytes,
                                                                 absl::string_view path,
                                                                 const TensorsLimits& limits = {});

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TENSORS_FILE_H_
