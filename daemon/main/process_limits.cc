#include "daemon/main/process_limits.h"

#include <sys/resource.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "daemon/storage/descriptor_budget.h"

namespace weightd {
namespace {

constexpr uint64_t kCopiesShare = 16;

}  // namespace

uint64_t HostCopiesMax() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = kDescriptorsMin;
  return std::max(limit.rlim_cur, kDescriptorsMin) / kCopiesShare;
}

absl::Status RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::OkStatus();
  const rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
  // Else the soft limit stays.
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  if (limit.rlim_cur >= kDescriptorsMin) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "descriptors: weightd may have ", limit.rlim_cur, " (RLIMIT_NOFILE), wanted ",
      kDescriptorsMin, " or more, most of them for connections; ", HowToRaiseDescriptorLimit()));
}

}  // namespace weightd
