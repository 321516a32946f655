#ifndef WEIGHTD_CONVERT_SOURCE_H_
#define WEIGHTD_CONVERT_SOURCE_H_

#include <functional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "daemon/catalog/catalog.h"

// Checkpoints as local files, read without a daemon. Thread-compatible.

namespace weightd {

// `path` is a .safetensors or .tensors file, or a directory that holds one checkpoint (a repository
// of a Hugging Face hub cache too); the daemon's catalog would find it likewise. Its headers are
// read and checked. NOT_FOUND, or the catalog's errors.
absl::StatusOr<OpenedCheckpoint> OpenSource(const std::string& path);

// FAILED_PRECONDITION/KEY_MISSING for an encrypted checkpoint: only the daemon takes keys.
absl::Status RefuseEncrypted(const OpenedCheckpoint& source);

// Calls `use` with the bytes of one tensor, in order and in parts of some megabytes; zeros for a
// meta tensor.
absl::Status ForEachPart(const OpenedCheckpoint& source, size_t tensor_index,
                         absl::FunctionRef<absl::Status(absl::Span<const std::byte>)> use);

// Bytes of tensors worked on so far, and in all.
using ConvertProgress = std::function<void(uint64_t bytes_done, uint64_t bytes_total)>;

}  // namespace weightd

#endif  // WEIGHTD_CONVERT_SOURCE_H_
