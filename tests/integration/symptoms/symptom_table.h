#ifndef WEIGHTD_TESTS_INTEGRATION_SYMPTOMS_SYMPTOM_TABLE_H_
#define WEIGHTD_TESTS_INTEGRATION_SYMPTOMS_SYMPTOM_TABLE_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"

// The symptoms table of deploy/README.md: what an operator reads there, and that it is so. Each row
// begins with an anchor, which names it, and the text of the symptom in backticks, where `…` stands
// for anything:
//
//   | <a id="no-room"></a>`needs … budget …` | cause | command |
//
// Thread-compatible.

namespace weightd::testing {

struct Symptom {
  std::string text;
  std::vector<std::string> parts;  // of it, between the ellipses
};

// Of deploy/README.md, by anchor. Fails the test for a row that has no text.
const std::map<std::string, Symptom>& SymptomTable();

// Remembers that a test of this program provokes the row; returns true.
bool RegisterSymptom(absl::string_view anchor);
std::set<std::string> RegisteredSymptoms();

// That a program's output has the row's text, its parts in their order.
::testing::AssertionResult ShowsSymptom(const std::string& anchor, const std::string& output);

}  // namespace weightd::testing

// A test that provokes the row, of `fixture`, under its anchor with `_` for `-`.
#define WEIGHTD_SYMPTOM(fixture, name, anchor)                                            \
  const bool fixture##_##name##_registered = ::weightd::testing::RegisterSymptom(anchor); \
  TEST_F(fixture, name)

#endif  // WEIGHTD_TESTS_INTEGRATION_SYMPTOMS_SYMPTOM_TABLE_H_
