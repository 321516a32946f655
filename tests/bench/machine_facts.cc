#include "tests/bench/machine_facts.h"

#include <sys/utsname.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "daemon/device/host_memory.h"
#include "tests/bench/fio.h"

namespace weightd::bench {
namespace {

using Json = nlohmann::ordered_json;

#ifdef __clang__
constexpr const char* kCompiler = "clang " __clang_version__;
#else
constexpr const char* kCompiler = "gcc " __VERSION__;
#endif

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "ext4 on /dev/vda": the mount with the longest path that holds `folder`.
std::string FileSystemOf(const std::string& folder) {
  std::error_code error;
  const std::string path = std::filesystem::canonical(folder, error).string() + "/";
  std::ifstream mounts("/proc/self/mounts");
  std::string found = "unknown";
  size_t found_length = 0;
  for (std::string line; std::getline(mounts, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() < 3) continue;
    const std::string point = words[1] == "/" ? "/" : words[1] + "/";
    if (!absl::StartsWith(path, point) || point.size() < found_length) continue;
    found = absl::StrCat(words[2], " on ", words[0]);
    found_length = point.size();
  }
  return found;
}

std::string CpuModel() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!absl::StartsWith(line, "model name")) continue;
    return std::string(absl::StripAsciiWhitespace(line.substr(line.find(':') + 1)));
  }
  return "unknown";
}

}  // namespace

Json VersionFacts() {
  utsname kernel{};
  ::uname(&kernel);
  return {{"kernel", absl::StrCat(kernel.sysname, " ", kernel.release, " ", kernel.machine)},
          {"fio", FioVersion().value_or("")},
          {"weightd", WEIGHTD_VERSION},
          {"compiler", kCompiler},
          {"build", WEIGHTD_BUILD_TYPE}};
}

Json MachineFacts(const std::string& folder) {
  return {{"cores", std::thread::hardware_concurrency()},
          {"cpu", CpuModel()},
          {"memory_bytes", ReadHostMemory().total_bytes},
          {"disk", FileSystemOf(folder)},
          {"load", FirstLine("/proc/loadavg")},
          {"transparent_hugepage", FirstLine("/sys/kernel/mm/transparent_hugepage/enabled")},
          {"shmem_enabled", FirstLine("/sys/kernel/mm/transparent_hugepage/shmem_enabled")},
          {"nr_hugepages_before", FirstLine("/proc/sys/vm/nr_hugepages")}};
}

}  // namespace weightd::bench
