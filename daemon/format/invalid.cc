#include "daemon/format/invalid.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"

namespace weightd {
namespace {

constexpr size_t kShapeShownMax = 8;

absl::Status About(absl::string_view path, absl::StatusCode code, Reason reason,
                   absl::string_view message) {
  return ErrorWithReason(code, reason, absl::StrCat("read header of ", path, ": ", message),
                         {{"file", std::string(path)}});
}

}  // namespace

absl::Status InvalidHeader(absl::string_view path, absl::string_view message) {
  return About(path, absl::StatusCode::kDataLoss, Reason::kCheckpointInvalid, message);
}

absl::Status HeaderBeyondLimit(absl::string_view path, absl::string_view message) {
  return About(path, absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded, message);
}

absl::Status WithFile(const absl::Status& status, absl::string_view path) {
  if (status.ok()) return status;
  const std::optional<Reason> reason = GetReason(status);
  if (!reason.has_value()) return status;
  return ErrorWithReason(status.code(), *reason, status.message(), {{"file", std::string(path)}});
}

absl::Status CheckLimit(absl::string_view name, uint64_t value, uint64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                         absl::StrCat(name, " is ", value, ", wanted 1 to ", max));
}

std::string ShapeText(absl::Span<const uint64_t> shape) {
  const size_t shown = std::min(shape.size(), kShapeShownMax);
  return absl::StrCat("[", absl::StrJoin(shape.first(shown), ","),
                      shown < shape.size() ? ",..." : "", "]");
}

}  // namespace weightd
