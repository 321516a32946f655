#ifndef WEIGHTD_DAEMON_DEVICE_COPY_RANGE_H_
#define WEIGHTD_DAEMON_DEVICE_COPY_RANGE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace weightd {

// OUT_OF_RANGE unless [offset, offset + bytes) lies in an allocation of `allocation_bytes`.
absl::Status CheckRange(absl::string_view what, uint64_t offset, uint64_t bytes,
                        uint64_t allocation_bytes);

// CheckRange for both ranges of a move; INVALID_ARGUMENT when they overlap.
absl::Status CheckMove(uint64_t from, uint64_t to, uint64_t bytes, uint64_t allocation_bytes);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_COPY_RANGE_H_
