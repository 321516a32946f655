#include "common/leave_process.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/proc_text.h"
#include "common/socket_paths.h"

namespace weightd {
namespace {

std::atomic<int> exit_status = 0;

struct OpenFile {
  int fd = -1;
  std::string target;  // of /proc/self/fd/N
};

std::vector<OpenFile> OpenFiles() {
  std::vector<OpenFile> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    OpenFile file;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &file.fd)) continue;
    // Names only: the volume that the file lies on is not asked.
    file.target = std::filesystem::read_symlink(entry.path(), error).string();
    if (!error) files.push_back(std::move(file));
  }
  return files;
}

void CloseWhatOthersWaitFor() {
  for (const OpenFile& file : OpenFiles()) {
    const bool is_lock = absl::EndsWith(file.target, LockFilePath(""));
    if (is_lock) (void)::flock(file.fd, LOCK_UN);
    if (is_lock || absl::StartsWith(file.target, "socket:") ||
        absl::StartsWith(file.target, "pipe:") || absl::StartsWith(file.target, "/memfd:")) {
      (void)::close(file.fd);
    }
  }
}

void UnmapModels() {
  for (const absl::string_view line : absl::StrSplit(ReadProcFile("/proc/self/maps"), '\n')) {
    if (!absl::StrContains(line, "/memfd:")) continue;
    const std::pair<absl::string_view, absl::string_view> range =
        absl::StrSplit(line.substr(0, line.find(' ')), '-');
    uint64_t begin = 0;
    uint64_t end = 0;
    if (!absl::SimpleHexAtoi(range.first, &begin) || !absl::SimpleHexAtoi(range.second, &end)) {
      continue;
    }
    (void)::munmap(reinterpret_cast<void*>(begin), end - begin);
  }
}

}  // namespace

void LeaveProcess(int status) {
  exit_status = status;
  for (const int fault : {SIGSEGV, SIGBUS, SIGABRT}) {
    ::signal(fault, [](int) { ::_exit(exit_status); });
  }
  CloseWhatOthersWaitFor();
  UnmapModels();
  ::_exit(status);
}

}  // namespace weightd
