#ifndef WEIGHTD_DAEMON_FORMAT_TENSORS_HEADER_H_
#define WEIGHTD_DAEMON_FORMAT_TENSORS_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "daemon/format/manifest.h"
#include "daemon/format/tensors_dtype.h"
#include "daemon/format/tensors_file.h"
#include "daemon/format/tensors_name.h"

// The header that stands directly before each tensor's data in a .tensors file (shared/formats.md
// 1.5, 1.8, 1.10.1).
//
//   | 8: length H | module, kind, name, dtype, shape | hash block | crypt block | ... | 8: data
//   length | 0                                                              if encrypted         H
//   - 8          H
//
// Errors as in tensors_file.h. Thread-safe: pure functions.

namespace weightd {

// The length, the data length and all between them that is never left out.
inline constexpr uint64_t kTensorsHeaderBytesMin = 8 + 2 + 1 + 2 + 1 + 1 + 2 + 1 + 8;

struct TensorsHeader {
  uint64_t header_offset = 0;
  uint64_t header_bytes = 0;
  std::string raw_name;   // as written
  std::string raw_dtype;  // as written
  TensorsName name;
  TensorsDtype dtype;
  Shape shape;
  uint64_t data_bytes = 0;  // in the file; 0 for a meta tensor
  StoredTensor stored;
  std::optional<KeyDerivation> key_derivation;

  uint64_t data_offset() const { return header_offset + header_bytes; }
};

// The length of the header at `header_offset`, whose first 8 bytes `prefix` are (fewer only where
// the file has fewer); 0 is the terminator. Refused where the file has not so many bytes or the
// limit is lower, so that a buffer of it can be taken.
absl::StatusOr<uint64_t> ParseTensorsHeaderLength(absl::Span<const std::byte> prefix,
                                                  uint64_t header_offset, uint64_t file_bytes,
                                                  absl::string_view path,
                                                  const TensorsLimits& limits = {});

// One header, all of it. The data's range lies in the file.
absl::StatusOr<TensorsHeader> ParseTensorsHeader(absl::Span<const std::byte> header,
                                                 uint64_t header_offset, bool is_encrypted,
                                                 uint64_t file_bytes, absl::string_view path,
                                                 const TensorsLimits& limits = {});

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TENSORS_HEADER_H_
