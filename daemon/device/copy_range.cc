#include "daemon/device/copy_range.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace weightd {

absl::Status CheckRange(absl::string_view what, uint64_t offset, uint64_t bytes,
                        uint64_t allocation_bytes) {
  if (offset <= allocation_bytes && bytes <= allocation_bytes - offset) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(what, ": ", bytes, " bytes at ", offset,
                                            " do not lie in ", allocation_bytes, " bytes"));
}

absl::Status CheckMove(uint64_t from, uint64_t to, uint64_t bytes, uint64_t allocation_bytes) {
  RETURN_IF_ERROR(CheckRange("move from", from, bytes, allocation_bytes));
  RETURN_IF_ERROR(CheckRange("move to", to, bytes, allocation_bytes));
  if (bytes <= std::max(from, to) - std::min(from, to)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("move ", bytes, " bytes from ", from, " to ", to, ": the ranges overlap"));
}

}  // namespace weightd
