#include "tests/support/process/proc_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/align.h"

namespace weightd::testing {

std::optional<uint64_t> ReadProcBytes(const std::string& path, absl::string_view name) {
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

absl::StatusOr<std::vector<std::string>> ListDescriptors(pid_t pid) {
  const std::string folder = absl::StrCat("/proc/", pid, "/fd");
  std::error_code error;
  std::filesystem::directory_iterator entries(folder, error);
  std::vector<std::string> targets;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    std::error_code closed;  // meanwhile
    std::string target = std::filesystem::read_symlink(entries->path(), closed).string();
    if (!closed) targets.push_back(std::move(target));
  }
  if (error) return absl::NotFoundError(absl::StrCat("list ", folder, ": ", error.message()));
  return targets;
}

absl::StatusOr<std::vector<std::string>> ListFilesBelow(pid_t pid, const std::string& folder) {
  absl::StatusOr<std::vector<std::string>> files = ListDescriptors(pid);
  if (!files.ok()) return files;
  std::ifstream maps(absl::StrCat("/proc/", pid, "/maps"));
  for (std::string line; std::getline(maps, line);) {
    const size_t path = line.find('/');  // of what has one; it comes last
    if (path != std::string::npos) files->push_back(line.substr(path));
  }
  std::erase_if(*files, [prefix = folder + "/"](const std::string& file) {
    return !absl::StartsWith(file, prefix);
  });
  std::sort(files->begin(), files->end());
  files->erase(std::unique(files->begin(), files->end()), files->end());
  return files;
}

}  // namespace weightd::testing
