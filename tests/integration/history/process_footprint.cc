#include "tests/integration/history/process_footprint.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace weightd::testing {

std::ostream& operator<<(std::ostream& out, const ProcessFootprint& footprint) {
  return out << "descriptors=" << footprint.descriptors << " memfds=" << footprint.memfds
             << " shared_bytes=" << footprint.shared_bytes
             << " hugetlb_bytes=" << footprint.hugetlb_bytes
             << " heap_bytes=" << footprint.heap_bytes;
}

ProcessFootprint ReadFootprint(pid_t pid) {
  ProcessFootprint footprint;
  const std::string folder = absl::StrCat("/proc/", pid);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/fd", error)) {
    std::error_code gone;  // closed meanwhile
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (gone) continue;
    ++footprint.descriptors;
    if (absl::StrContains(target, "memfd:")) ++footprint.memfds;
  }
  std::ifstream status(folder + "/status");
  for (std::string key; status >> key;) {
    uint64_t kib = 0;
    if (key == "RssShmem:" && status >> kib) footprint.shared_bytes = kib * 1024;
    if (key == "HugetlbPages:" && status >> kib) footprint.hugetlb_bytes = kib * 1024;
    if (key == "RssAnon:" && status >> kib) footprint.heap_bytes = kib * 1024;
  }
  return footprint;
}

}  // namespace weightd::testing
