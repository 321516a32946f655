#include "tests/bench/daemon_memory.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/align.h"

namespace weightd::bench {
namespace {

// Of a line "NAME:   123 kB" of a file below /proc.
std::optional<uint64_t> ReadKilobytes(const std::string& path, absl::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    absl::string_view text = line;
    if (!absl::ConsumePrefix(&text, name) || !absl::ConsumePrefix(&text, ":")) continue;
    if (!absl::ConsumeSuffix(&text, "kB")) continue;
    uint64_t value = 0;
    if (absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &value)) return value * kKiB;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<DaemonMemory> ReadDaemonMemory(pid_t pid) {
  const std::string status = absl::StrCat("/proc/", pid, "/status");
  const std::string rollup = absl::StrCat("/proc/", pid, "/smaps_rollup");
  const std::optional<uint64_t> anon = ReadKilobytes(status, "RssAnon");
  if (!anon.has_value()) return absl::NotFoundError(absl::StrCat("read RssAnon of ", status));
  DaemonMemory memory;
  memory.anon_bytes = *anon;
  const std::optional<uint64_t> pss = ReadKilobytes(rollup, "Pss");
  const std::optional<uint64_t> shared = ReadKilobytes(rollup, "Pss_Shmem");
  if (pss.has_value() && shared.has_value()) memory.pss_bytes = *pss - *shared;
  return memory;
}

absl::StatusOr<uint64_t> CountSockets(pid_t pid) {
  const std::string folder = absl::StrCat("/proc/", pid, "/fd");
  std::error_code error;
  std::filesystem::directory_iterator entries(folder, error);
  uint64_t count = 0;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    std::error_code closed;  // meanwhile
    const std::string target = std::filesystem::read_symlink(entries->path(), closed).string();
    if (!closed && absl::StartsWith(target, "socket:")) ++count;
  }
  if (error) return absl::NotFoundError(absl::StrCat("list ", folder, ": ", error.message()));
  return count;
}

}  // namespace weightd::bench
