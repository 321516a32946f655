#ifndef WEIGHTD_COMMON_PROC_TEXT_H_
#define WEIGHTD_COMMON_PROC_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// Text of /proc and /sys. Thread-safe.

namespace weightd {

// Empty when the file cannot be read.
std::string ReadProcFile(const std::string& path);

// The words of the line that begins with the word `key`; empty without one.
std::vector<std::string> ProcLine(absl::string_view text, absl::string_view key);

// The number of `key` in text of the form of /proc/meminfo or /proc/self/status: 1048576 for
// "MemAvailable" of "MemAvailable: 1024 kB", 2 for "Seccomp" of "Seccomp:\t2".
std::optional<uint64_t> ProcNumber(absl::string_view text, absl::string_view key);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_PROC_TEXT_H_
