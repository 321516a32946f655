#include "common/thread_limits.h"

#include <sys/resource.h>

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "common/proc_text.h"
#include "common/thread.h"

namespace weightd {
namespace {

constexpr absl::string_view kCgroupMount = "/sys/fs/cgroup";

std::string UserLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NPROC, &limit) != 0) return "ulimit -u";
  if (limit.rlim_cur == RLIM_INFINITY) return "ulimit -u is unlimited";
  return absl::StrCat("ulimit -u is ", limit.rlim_cur);
}

// Of our own group; those above it may have less.
std::string GroupLimit() {
  for (const absl::string_view line : absl::StrSplit(ReadProcFile("/proc/self/cgroup"), '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3 || !(parts[1].empty() || parts[1] == "pids")) continue;
    const std::string limit =
        ReadProcFile(absl::StrCat(kCgroupMount, parts[1].empty() ? "" : "/pids",
                                  parts[2] == "/" ? "" : parts[2], "/pids.max"));
    if (!limit.empty()) return absl::StrCat("pids.max is ", absl::StripAsciiWhitespace(limit));
  }
  return "pids.max";
}

}  // namespace

std::string HowToRaiseThreadLimits() {
  return absl::StrCat("raise the limit of processes (", UserLimit(), ", ", GroupLimit(), ")");
}

absl::Status CheckThreadsToSpare(int wanted, absl::string_view what) {
  absl::Notification end;
  std::vector<Thread> threads;
  absl::Status status;
  for (int i = 0; i < wanted && status.ok(); ++i) {
    absl::StatusOr<Thread> thread = Thread::Start("spare", [&] { end.WaitForNotification(); });
    if (thread.ok()) {
      threads.push_back(*std::move(thread));
    } else {
      status = absl::ResourceExhaustedError(absl::StrCat("start the threads of ", what, ": got ",
                                                         threads.size(), ", wanted ", wanted, "; ",
                                                         HowToRaiseThreadLimits()));
    }
  }
  end.Notify();
  for (Thread& thread : threads) thread.Join();
  return status;
}

}  // namespace weightd
