#include "common/proc_text.h"

#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace weightd {

std::string ReadProcFile(const std::string& path) {
  const std::ifstream file(path);
  std::stringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

std::vector<std::string> ProcLine(absl::string_view text, absl::string_view key) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, key)) continue;
    std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (!words.empty() && words[0] == key) return words;
  }
  return {};
}

std::optional<uint64_t> ProcNumber(absl::string_view text, absl::string_view key) {
  const std::vector<std::string> words = ProcLine(text, absl::StrCat(key, ":"));
  uint64_t value = 0;
  if (words.size() < 2 || !absl::SimpleAtoi(words[1], &value)) return std::nullopt;
  return words.size() > 2 && words[2] == "kB" ? value * 1024 : value;
}

}  // namespace weightd
