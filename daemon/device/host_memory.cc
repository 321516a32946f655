#include "daemon/device/host_memory.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/proc_text.h"

namespace weightd {
namespace {

constexpr absl::string_view kHugePages = "/sys/kernel/mm/hugepages/hugepages-2048kB/";
constexpr absl::string_view kShmemEnabled = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

// The files of one cgroup, and the keys of its statistics that count the page cache.
struct CgroupFiles {
  absl::string_view limit;
  absl::string_view used;
  absl::string_view inactive_cache;
  absl::string_view active_cache;
};

constexpr CgroupFiles FilesOf(CgroupVersion version) {
  if (version == CgroupVersion::kV2) {
    return {"memory.max", "memory.current", "inactive_file", "active_file"};
  }
  return {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
          "total_active_file"};
}

std::optional<uint64_t> ReadNumber(const std::string& path) {
  uint64_t value = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(ReadProcFile(path)), &value))
    return std::nullopt;
  return value;
}

}  // namespace

std::optional<uint64_t> ParseMemoryStat(absl::string_view text, absl::string_view key) {
  const std::vector<std::string> words = ProcLine(text, key);
  uint64_t value = 0;
  if (words.size() != 2 || !absl::SimpleAtoi(words[1], &value)) return std::nullopt;
  return value;
}

bool ShmemHugePagesAllowed(absl::string_view text) {
  for (const absl::string_view word :
       absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty())) {
    if (word.front() == '[') return word != "[never]" && word != "[deny]";
  }
  return false;
}

std::optional<std::string> ParseCgroupPath(absl::string_view text, CgroupVersion version) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    // number:controllers:path, and the path may have colons.
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::vector<absl::string_view> controllers = absl::StrSplit(parts[1], ',');
    const bool is_ours = version == CgroupVersion::kV2
                             ? parts[0] == "0" && parts[1].empty()
                             : absl::c_linear_search(controllers, "memory");
    if (is_ours) return std::string(parts[2]);
  }
  return std::nullopt;
}

void ApplyCgroupLimits(const std::string& root, const std::string& path, CgroupVersion version,
                       HostMemory& memory) {
  const CgroupFiles files = FilesOf(version);
  std::string directory = path == "/" ? "" : path;
  while (true) {
    const std::string base = absl::StrCat(root, directory, "/");
    // Without a limit version 2 says "max", which is no number, and version 1 a number that is
    // larger than any memory.
    const std::optional<uint64_t> limit = ReadNumber(absl::StrCat(base, files.limit));
    const std::optional<uint64_t> used = ReadNumber(absl::StrCat(base, files.used));
    if (limit.has_value() && used.has_value()) {
      const std::string stat = ReadProcFile(base + "memory.stat");
      // The page cache is given back before anybody is killed.
      const uint64_t cache = ParseMemoryStat(stat, files.inactive_cache).value_or(0) +
                             ParseMemoryStat(stat, files.active_cache).value_or(0);
      const uint64_t held = *used - std::min(*used, cache);
      memory.total_bytes = std::min(memory.total_bytes, *limit);
      memory.available_bytes = std::min(memory.available_bytes, *limit - std::min(*limit, held));
    }
    const size_t slash = directory.rfind('/');
    if (slash == std::string::npos) return;
    directory.resize(slash);
  }
}

HostMemory ReadHostMemory() {
  HostMemory memory;
  const std::string info = ReadProcFile("/proc/meminfo");
  memory.total_bytes = ProcNumber(info, "MemTotal").value_or(0);
  memory.available_bytes = ProcNumber(info, "MemAvailable").value_or(0);
  const uint64_t free_pages = ReadNumber(absl::StrCat(kHugePages, "free_hugepages")).value_or(0);
  const uint64_t promised = ReadNumber(absl::StrCat(kHugePages, "resv_hugepages")).value_or(0);
  memory.free_huge_bytes = (free_pages - std::min(free_pages, promised)) * kHugePageBytes;
  memory.transparent_huge = ShmemHugePagesAllowed(ReadProcFile(std::string(kShmemEnabled)));
  const std::string cgroups = ReadProcFile("/proc/self/cgroup");
  for (const auto& [version, root] : {std::pair(CgroupVersion::kV2, "/sys/fs/cgroup"),
                                      std::pair(CgroupVersion::kV1, "/sys/fs/cgroup/memory")}) {
    const std::optional<std::string> path = ParseCgroupPath(cgroups, version);
    if (path.has_value()) ApplyCgroupLimits(root, *path, version, memory);
  }
  return memory;
}

}  // namespace weightd
