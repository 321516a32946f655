#include "tests/integration/symptoms/symptom_table.h"

#include <regex>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/support/common/read_file.h"

namespace weightd::testing {
namespace {

constexpr absl::string_view kEllipsis = "…";

std::map<std::string, Symptom> ReadTable() {
  const std::regex row("\\| <a id=\"([^\"]+)\"></a>`([^`]+)` \\|.*\\|.*\\|");
  std::map<std::string, Symptom> table;
  for (const absl::string_view line : absl::StrSplit(ReadFile(WEIGHTD_DEPLOY_README), '\n')) {
    if (!absl::StartsWith(line, "| <a id=")) continue;
    const std::string text(line);
    std::smatch match;
    if (!std::regex_match(text, match, row)) {
      ADD_FAILURE() << "no row of a symptom: " << text;
      continue;
    }
    Symptom symptom;
    symptom.text = match[2].str();
    for (const absl::string_view part : absl::StrSplit(symptom.text, kEllipsis)) {
      const absl::string_view words = absl::StripAsciiWhitespace(part);
      if (!words.empty()) symptom.parts.emplace_back(words);
    }
    EXPECT_TRUE(table.emplace(match[1].str(), std::move(symptom)).second) << text;
  }
  return table;
}

std::set<std::string>& Registry() {
  static std::set<std::string> registry;
  return registry;
}

}  // namespace

const std::map<std::string, Symptom>& SymptomTable() {
  static const std::map<std::string, Symptom> table = ReadTable();
  return table;
}

bool RegisterSymptom(absl::string_view anchor) {
  Registry().insert(std::string(anchor));
  return true;
}

std::set<std::string> RegisteredSymptoms() { return Registry(); }

::testing::AssertionResult ShowsSymptom(const std::string& anchor, const std::string& output) {
  const auto found = SymptomTable().find(anchor);
  if (found == SymptomTable().end()) {
    return ::testing::AssertionFailure()
           << "deploy/README.md has no row `" << anchor << "`; what came was: " << output;
  }
  size_t from = 0;
  for (const std::string& part : found->second.parts) {
    const size_t at = output.find(part, from);
    if (at == std::string::npos) {
      return ::testing::AssertionFailure() << "the table says `" << found->second.text << "`; `"
                                           << part << "` is not in: " << output;
    }
    from = at + part.size();
  }
  return ::testing::AssertionSuccess();
}

}  // namespace weightd::testing
