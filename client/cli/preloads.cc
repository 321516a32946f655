#include "client/cli/preloads.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/text.h"

namespace weightd::cli {

std::string PreloadText(const v1::Preload& preload) {
  switch (preload.state()) {
    case v1::PRELOAD_RESIDENT:
      return "resident";
    case v1::PRELOAD_QUEUED:
      return "queued";
    case v1::PRELOAD_STAGING:
      if (preload.bytes_total() == 0) return "staging";
      return absl::StrCat(
          "staging ", std::min<uint64_t>(preload.bytes_done() * 100 / preload.bytes_total(), 100),
          " %");
    case v1::PRELOAD_FAILED:
      return absl::StrCat("failed: ", preload.error());
    default:
      return "not in memory, and not being staged";
  }
}

std::string MissingPreloads(const std::vector<v1::Preload>& preloads) {
  std::vector<std::string> missing;
  for (const v1::Preload& preload : preloads) {
    if (preload.state() == v1::PRELOAD_RESIDENT) continue;
    missing.push_back(absl::StrCat(preload.model(), ": ", PreloadText(preload)));
  }
  return absl::StrJoin(missing, "; ");
}

absl::Status CheckPreloads(const std::vector<v1::Preload>& preloads) {
  const auto missing = std::count_if(
      preloads.begin(), preloads.end(),
      [](const v1::Preload& preload) { return preload.state() != v1::PRELOAD_RESIDENT; });
  if (missing == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(missing, " of ", Counted(preloads.size(), "preloaded model"),
                   missing == 1 ? " is" : " are", " not resident: ", MissingPreloads(preloads)));
}

}  // namespace weightd::cli
