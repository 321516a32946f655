#ifndef WEIGHTD_DAEMON_FORMAT_SAFETENSORS_H_
#define WEIGHTD_DAEMON_FORMAT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "daemon/format/manifest.h"

// Reads the header of a .safetensors file (shared/formats.md, part 2).
//
//   | 8: header length | header: JSON | data buffer ......... |
//   0                  8              8 + header              file size
//
// A header that is accepted describes tensors that tile the data buffer exactly: no holes, no
// overlaps, nothing behind the last. What the reference reader (safetensors 0.8) accepts is
// accepted, a tensor entry as array and a dtype as {"F32":null} included, except for a tensor name
// that occurs twice: readers differ on which one counts.
//
// Errors are DATA_LOSS/CHECKPOINT_INVALID with file, offset where it is known, rule, what was found
// and what was wanted; RESOURCE_EXHAUSTED/LIMIT_EXCEEDED for a file that is valid but beyond the
// limits. The metadata of both has `file`. Thread-safe: pure functions.

namespace weightd {

inline constexpr uint64_t kSafetensorsPrefixBytes = 8;
// The format's own limit.
inline constexpr uint64_t kSafetensorsHeaderBytesMax = 100'000'000;

struct SafetensorsLimits {
  uint64_t header_bytes_max = kSafetensorsHeaderBytesMax;  // 1..100,000,000
  uint64_t tensors_max = 1'000'000;                        // of one file, 1..16,000,000
  uint32_t name_bytes_max = 65'535;                        // of a tensor's name, 1..65,535
  uint32_t rank_max = 64;                                  // dimensions of a tensor, 1..64
  absl::Status Validate() const;
};

// The header's length in bytes. `prefix` is the first 8 bytes of the file, fewer only where the
// file has fewer; `path` is for messages.
absl::StatusOr<uint64_t> ParseSafetensorsPrefix(absl::Span<const std::byte> prefix,
                                                uint64_t file_bytes, absl::string_view path,
                                                const SafetensorsLimits& limits = {});

// `header` is the JSON text behind the prefix, all of it. It is not copied if it has room for
// kJsonPaddingBytes more.
absl::StatusOr<ShardHeader> ParseSafetensorsHeader(std::string header, uint64_t file_bytes,
                                                   absl::string_view path,
                                                   const SafetensorsLimits& limits = {});

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_SAFETENSORS_H_
