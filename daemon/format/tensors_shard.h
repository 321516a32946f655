#ifndef WEIGHTD_DAEMON_FORMAT_TENSORS_SHARD_H_
#define WEIGHTD_DAEMON_FORMAT_TENSORS_SHARD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "daemon/format/manifest.h"
#include "daemon/format/tensors_file.h"
#include "daemon/format/tensors_header.h"

// From the parts of a .tensors file to its ShardHeader. Errors as in tensors_file.h. Thread-safe:
// pure functions.

namespace weightd {

// `headers` are those of all tensors, in the order of the file; `index` likewise, or empty for a
// file without one. Refused where the two differ in name, type, dtype, shape or length, where names
// conflict, and where meta tensors declare more memory than the limit.
absl::StatusOr<ShardHeader> AssembleTensorsShard(const TensorsFileHeader& file,
                                                 absl::Span<const TensorsIndexEntry> index,
                                                 std::vector<TensorsHeader> headers,
                                                 uint64_t file_bytes, absl::string_view path,
                                                 const TensorsLimits& limits = {});

// Fills `to` with the file's bytes from `offset`; the range lies in the file. Called from several
// threads at once if the ForEach below is so.
using ReadAt = absl::FunctionRef<absl::Status(uint64_t offset, absl::Span<std::byte> to)>;
// Calls `work` with each number below `count`, in any order, and returns the first error.
using ForEach =
    absl::FunctionRef<absl::Status(size_t count, absl::FunctionRef<absl::Status(size_t)> work)>;

// Reads the file header, the index and every tensor header. Without an index the headers are found
// one after another, each behind the data of the one before, up to the terminator, which must be
// the end of the file.
absl::StatusOr<ShardHeader> ReadTensorsShard(ReadAt read_at, ForEach for_each, uint64_t file_bytes,
                                             absl::string_view path,
                                             const TensorsLimits& limits = {});

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TENSORS_SHARD_H_
