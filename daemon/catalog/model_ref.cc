#include "daemon/catalog/model_ref.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/catalog/catalog.h"

namespace weightd {
namespace {

constexpr size_t kCommitDigits = 40;
constexpr size_t kRevisionBytesMax = 256;

absl::Status Invalid(absl::string_view text, absl::string_view rule) {
  return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                         absl::StrCat("model ", text, ": ", rule));
}

bool IsNumber(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

// It becomes a path below refs/ or snapshots/.
bool IsPlainRevision(absl::string_view revision) {
  if (revision.size() > kRevisionBytesMax) return false;
  for (const absl::string_view part : absl::StrSplit(revision, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
    if (std::any_of(part.begin(), part.end(), absl::ascii_iscntrl)) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<ModelRef> ParseModelRef(absl::string_view text) {
  ModelRef ref;
  const size_t at = text.find('@');
  ref.model = std::string(text.substr(0, at));
  RETURN_IF_ERROR(ValidateModelName(ref.model));
  if (at == absl::string_view::npos) return ref;
  const absl::string_view suffix = text.substr(at + 1);
  if (suffix.empty()) return Invalid(text, "nothing follows '@'");
  if (IsNumber(suffix) && suffix.size() < kCommitDigits) {
    uint64_t generation = 0;
    if (suffix.front() == '0' || !absl::SimpleAtoi(suffix, &generation)) {
      return Invalid(text, "what follows '@' is no generation's id");
    }
    ref.generation = generation;
    return ref;
  }
  if (!IsPlainRevision(suffix)) return Invalid(text, "what follows '@' cannot be a revision");
  ref.revision = std::string(suffix);
  return ref;
}

std::string ToString(const ModelRef& ref) {
  if (ref.generation.has_value()) return absl::StrCat(ref.model, "@", *ref.generation);
  return ref.revision.empty() ? ref.model : absl::StrCat(ref.model, "@", ref.revision);
}

}  // namespace weightd
