#include "tests/bench/daemon_memory.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "tests/support/process/proc_files.h"

namespace weightd::bench {

using testing::ListDescriptors;
using testing::ReadProcBytes;

absl::StatusOr<DaemonMemory> ReadDaemonMemory(pid_t pid) {
  const std::string status = absl::StrCat("/proc/", pid, "/status");
  const std::string rollup = absl::StrCat("/proc/", pid, "/smaps_rollup");
  const std::optional<uint64_t> anon = ReadProcBytes(status, "RssAnon");
  if (!anon.has_value()) return absl::NotFoundError(absl::StrCat("read RssAnon of ", status));
  DaemonMemory memory;
  memory.anon_bytes = *anon;
  const std::optional<uint64_t> pss = ReadProcBytes(rollup, "Pss");
  const std::optional<uint64_t> shared = ReadProcBytes(rollup, "Pss_Shmem");
  if (pss.has_value() && shared.has_value()) memory.pss_bytes = *pss - *shared;
  return memory;
}

absl::StatusOr<uint64_t> CountSockets(pid_t pid) {
  ASSIGN_OR_RETURN(const std::vector<std::string> targets, ListDescriptors(pid));
  return std::count_if(targets.begin(), targets.end(), [](const std::string& target) {
    return absl::StartsWith(target, "socket:");
  });
}

}  // namespace weightd::bench
