#ifndef WEIGHTD_DAEMON_DEVICE_HOST_MEMORY_H_
#define WEIGHTD_DAEMON_DEVICE_HOST_MEMORY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

// What the kernel says about this machine's memory. The parsers are pure; ReadHostMemory() reads
// /proc and /sys and never fails: what cannot be read counts as absent. All are thread-safe.

namespace weightd {

inline constexpr uint64_t kHugePageBytes = uint64_t{2} << 20;

struct HostMemory {
  // Of the machine, or of the smallest cgroup limit above this process.
  uint64_t total_bytes = 0;
  // What can be taken without swapping or meeting the OOM killer, the cgroup's limit included.
  uint64_t available_bytes = 0;
  // Reserved 2 MiB pages (vm.nr_hugepages) that nobody has taken or promised.
  uint64_t free_huge_bytes = 0;
  // Whether MADV_HUGEPAGE has an effect on shared memory.
  bool transparent_huge = false;
};
HostMemory ReadHostMemory();

// The value of `key` in a cgroup's memory.stat ("inactive_file 4096").
std::optional<uint64_t> ParseMemoryStat(absl::string_view text, absl::string_view key);

// Whether /sys/kernel/mm/transparent_hugepage/shmem_enabled ("always [advise] never") lets a
// mapping that asks for huge pages have them.
bool ShmemHugePagesAllowed(absl::string_view text);

// Which interface the memory limits of this process have (cgroups(7)).
enum class CgroupVersion { kV1, kV2 };

// The cgroup of this process that limits memory, in /proc/self/cgroup ("0::/pod/x" is version 2,
// "4:memory:/pod/x" version 1); none where the text has no such line.
std::optional<std::string> ParseCgroupPath(absl::string_view text, CgroupVersion version);

// Lowers `memory` to what the cgroup `path` and those above it leave; `root` is where the hierarchy
// is mounted. What is missing there limits nothing: a container sees its own cgroup as the root,
// and under version 1 its path is still the node's.
void ApplyCgroupLimits(const std::string& root, const std::string& path, CgroupVersion version,
                       HostMemory& memory);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_DEVICE_HOST_MEMORY_H_
