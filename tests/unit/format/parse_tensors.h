#ifndef WEIGHTD_TESTS_UNIT_FORMAT_PARSE_TENSORS_H_
#define WEIGHTD_TESTS_UNIT_FORMAT_PARSE_TENSORS_H_

#include <algorithm>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status_macros.h"
#include "daemon/format/tensors_shard.h"
#include "tests/support/checkpoints/tensors_text.h"

namespace weightd::testing {

inline constexpr char kTensorsPath[] = "m.tensors";

// Reads a whole file.
inline absl::StatusOr<ShardHeader> ParseTensors(absl::string_view file,
                                                const TensorsLimits& limits = {}) {
  const auto read_at = [&](uint64_t offset, absl::Span<std::byte> to) {
    if (offset > file.size() || to.size() > file.size() - offset) {
      return absl::InternalError(absl::StrCat("reads past the end, at ", offset));
    }
    const absl::Span<const std::byte> bytes = AsBytes(file).subspan(offset, to.size());
    std::copy(bytes.begin(), bytes.end(), to.begin());
    return absl::OkStatus();
  };
  const auto for_each = [](size_t count, absl::FunctionRef<absl::Status(size_t)> work) {
    for (size_t i = 0; i < count; ++i) RETURN_IF_ERROR(work(i));
    return absl::OkStatus();
  };
  return ReadTensorsShard(read_at, for_each, file.size(), kTensorsPath, limits);
}

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_FORMAT_PARSE_TENSORS_H_
