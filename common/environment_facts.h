#ifndef WEIGHTD_COMMON_ENVIRONMENT_FACTS_H_
#define WEIGHTD_COMMON_ENVIRONMENT_FACTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// What the kernel tells of this process and of the machine: what `weightctl doctor` judges, of
// itself and of the daemon. What cannot be read keeps its default. Thread-safe.

namespace weightd {

struct ProcessFacts {
  uint64_t pid_namespace = 0;  // inode; 0 where /proc does not show it
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> supplementary_gids;
  uint32_t seccomp_mode = 0;  // 0 none, 1 strict, 2 a filter
  bool no_new_privileges = false;
  uint64_t memlock_bytes = 0;    // soft limit; UINT64_MAX is none
  bool may_lock_memory = false;  // CAP_IPC_LOCK: the limit does not hold
  uint64_t open_files_max = 0;
};
ProcessFacts ReadProcessFacts();

struct MachineFacts {
  std::string kernel;                         // "6.1.0-18-amd64"
  std::optional<uint32_t> io_uring_disabled;  // sysctl; none before Linux 6.6
  int io_uring_errno = 0;                     // of io_uring_setup(2) for this process; 0 works
  uint64_t huge_page_bytes = 0;
  uint64_t huge_pages = 0;
  uint64_t huge_pages_free = 0;
  std::string transparent_huge_pages;  // "always", "madvise", "never"; empty without them
  std::string shmem_huge_pages;        // "advise", "never", ...
};
MachineFacts ReadMachineFacts();

// "madvise" of "always [madvise] never"; empty where nothing is chosen.
std::string ChosenWord(const std::string& text);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_ENVIRONMENT_FACTS_H_
