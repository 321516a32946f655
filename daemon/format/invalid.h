#ifndef WEIGHTD_DAEMON_FORMAT_INVALID_H_
#define WEIGHTD_DAEMON_FORMAT_INVALID_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// Errors of files that break the rules of their format. Thread-safe: pure functions.

namespace weightd {

// DATA_LOSS/CHECKPOINT_INVALID: "read header of <path>: <message>", with `file` in the metadata.
absl::Status InvalidHeader(absl::string_view path, absl::string_view message);

// RESOURCE_EXHAUSTED/LIMIT_EXCEEDED, likewise: the file may be valid, but is beyond our limits.
absl::Status HeaderBeyondLimit(absl::string_view path, absl::string_view message);

// An error with a reason gets `file` in its metadata.
absl::Status WithFile(const absl::Status& status, absl::string_view path);

// INVALID_ARGUMENT/INVALID_REQUEST unless 1 <= value <= max.
absl::Status CheckLimit(absl::string_view name, uint64_t value, uint64_t max);

// "[2,3]", at most 8 dimensions.
std::string ShapeText(absl::Span<const uint64_t> shape);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_INVALID_H_
