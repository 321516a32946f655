#include "common/environment_facts.h"

#include <grp.h>
#include <linux/io_uring.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/proc_text.h"
#include "common/unique_fd.h"

namespace weightd {
namespace {

// linux/capability.h.
constexpr int kCapIpcLock = 14;
constexpr const char* kTransparentFolder = "/sys/kernel/mm/transparent_hugepage/";

uint64_t SoftLimit(__rlimit_resource resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0) return 0;
  return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

bool HasCapability(absl::string_view status, int capability) {
  const std::vector<std::string> words = ProcLine(status, "CapEff:");
  uint64_t effective = 0;
  if (words.size() != 2 || !absl::SimpleHexAtoi(words[1], &effective)) return false;
  return ((effective >> capability) & 1) != 0;
}

std::vector<uint32_t> SupplementaryGroups() {
  std::vector<gid_t> groups(static_cast<size_t>(std::max(::getgroups(0, nullptr), 0)));
  const int count = ::getgroups(static_cast<int>(groups.size()), groups.data());
  groups.resize(static_cast<size_t>(std::max(count, 0)));
  return {groups.begin(), groups.end()};
}

int TryUringSetup() {
  io_uring_params parameters{};
  const UniqueFd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters)));
  return ring.valid() ? 0 : errno;
}

}  // namespace

std::string ChosenWord(const std::string& text) {
  const size_t begin = text.find('[');
  const size_t end = text.find(']', begin);
  if (begin == std::string::npos || end == std::string::npos) return "";
  return text.substr(begin + 1, end - begin - 1);
}

ProcessFacts ReadProcessFacts() {
  ProcessFacts facts;
  struct stat info {};
  if (::stat("/proc/self/ns/pid", &info) == 0) facts.pid_namespace = info.st_ino;
  facts.uid = ::geteuid();
  facts.gid = ::getegid();
  facts.supplementary_gids = SupplementaryGroups();
  const std::string status = ReadProcFile("/proc/self/status");
  facts.seccomp_mode = static_cast<uint32_t>(ProcNumber(status, "Seccomp").value_or(0));
  facts.no_new_privileges = ProcNumber(status, "NoNewPrivs").value_or(0) != 0;
  facts.may_lock_memory = HasCapability(status, kCapIpcLock);
  facts.memlock_bytes = SoftLimit(RLIMIT_MEMLOCK);
  facts.open_files_max = SoftLimit(RLIMIT_NOFILE);
  return facts;
}

MachineFacts ReadMachineFacts() {
  MachineFacts facts;
  utsname name{};
  if (::uname(&name) == 0) facts.kernel = name.release;
  const std::string disabled = ReadProcFile("/proc/sys/kernel/io_uring_disabled");
  uint32_t value = 0;
  if (absl::SimpleAtoi(disabled, &value)) facts.io_uring_disabled = value;
  facts.io_uring_errno = TryUringSetup();
  const std::string memory = ReadProcFile("/proc/meminfo");
  facts.huge_page_bytes = ProcNumber(memory, "Hugepagesize").value_or(0);
  facts.huge_pages = ProcNumber(memory, "HugePages_Total").value_or(0);
  facts.huge_pages_free = ProcNumber(memory, "HugePages_Free").value_or(0);
  facts.transparent_huge_pages =
      ChosenWord(ReadProcFile(absl::StrCat(kTransparentFolder, "enabled")));
  facts.shmem_huge_pages =
      ChosenWord(ReadProcFile(absl::StrCat(kTransparentFolder, "shmem_enabled")));
  return facts;
}

}  // namespace weightd
