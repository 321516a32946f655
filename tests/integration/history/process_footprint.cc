#include "tests/integration/history/process_footprint.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/support/process/proc_files.h"

namespace weightd::testing {

std::ostream& operator<<(std::ostream& out, const ProcessFootprint& footprint) {
  return out << "descriptors=" << footprint.descriptors << " memfds=" << footprint.memfds
             << " shared_bytes=" << footprint.shared_bytes
             << " hugetlb_bytes=" << footprint.hugetlb_bytes
             << " heap_bytes=" << footprint.heap_bytes;
}

ProcessFootprint ReadFootprint(pid_t pid) {
  ProcessFootprint footprint;
  const auto targets = ListDescriptors(pid);
  if (!targets.ok()) return footprint;
  for (const std::string& target : *targets) {
    ++footprint.descriptors;
    if (absl::StrContains(target, "memfd:")) ++footprint.memfds;
  }
  const std::string status = absl::StrCat("/proc/", pid, "/status");
  footprint.shared_bytes = ReadProcBytes(status, "RssShmem").value_or(0);
  footprint.hugetlb_bytes = ReadProcBytes(status, "HugetlbPages").value_or(0);
  footprint.heap_bytes = ReadProcBytes(status, "RssAnon").value_or(0);
  return footprint;
}

}  // namespace weightd::testing
