#ifndef WEIGHTD_DAEMON_FORMAT_TENSORS_WRITER_H_
#define WEIGHTD_DAEMON_FORMAT_TENSORS_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "daemon/format/manifest.h"

// Plans a .tensors file and makes its headers, as the reference writer does (shared/formats.md part
// 1), with two differences that all its readers take: the index is as large as it must be, not cut
// off at 256 KiB, and headers are padded so that each tensor's data begins on a boundary (1.9).
// Thread-safe: pure functions.

namespace weightd {

// The alignment of data, which lets weightd stage a file as one run.
inline constexpr uint64_t kTensorsDataAlignment = 256;
inline constexpr uint64_t kTensorsDataAlignmentMax = 4096;
// Of the reference writer.
inline constexpr uint64_t kTensorsIndexBytesMin = 262'144;

// One tensor to be written. Not encrypted, not meta.
struct TensorToWrite {
  std::string name;  // plain text
  Dtype dtype = Dtype::kU8;
  std::string torch_dtype;  // of opaque dtypes
  Shape shape;
  TensorKind kind = TensorKind::kStateDictEntry;
  uint16_t module_index = 0;
};

struct TensorPlace {
  uint64_t header_offset = 0;
  uint64_t header_bytes = 0;
  uint64_t data_bytes = 0;

  uint64_t data_offset() const { return header_offset + header_bytes; }
};

struct TensorsPlan {
  std::vector<TensorPlace> places;  // like the tensors
  std::string beginning;            // file header and index: the first bytes of the file
  uint64_t terminator_offset = 0;   // of 8 zero bytes, the last of the file

  uint64_t file_bytes() const { return terminator_offset + 8; }
};

// `alignment` is a power of two up to kTensorsDataAlignmentMax; 1 pads nothing. INVALID_ARGUMENT
// for what the format cannot hold: a dtype that it lacks, a name of more than 65,535 bytes or none,
// two of one name, more than 255 dimensions, a dimension above 2^32-1, no tensor.
absl::StatusOr<TensorsPlan> PlanTensorsFile(absl::Span<const TensorToWrite> tensors,
                                            uint64_t alignment = kTensorsDataAlignment);

// The header of one tensor of the plan. Without hashes their values are zero: that is what hashes
// cover, before the data (1.8).
std::string TensorHeaderText(const TensorToWrite& tensor, const TensorPlace& place,
                             const StoredHashes& hashes = {});

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TENSORS_WRITER_H_
