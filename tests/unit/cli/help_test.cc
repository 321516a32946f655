#include "client/cli/help.h"

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/verb_table.h"
#include "gmock/gmock.h"
#include "tests/unit/cli/verbs_fixture.h"

namespace weightd::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class HelpTest : public VerbsTest {};

TEST_F(HelpTest, BeginsWithWhatItIsForAndExamples) {
  const std::string help = Run({"--help"}).out;
  EXPECT_THAT(help, StartsWith("Asks and operates weightd, the node's weight cache\n\nExamples:\n"
                               "  weightctl ls "));
  EXPECT_LT(help.find("Examples:"), help.find("Usage:"));
  EXPECT_LT(help.find("Usage:"), help.find("Options:"));
}

TEST_F(HelpTest, EveryVerbOfTheTableIsAVerbWithExamplesFirst) {
  for (const VerbText& verb : VerbTable()) {
    const Outcome outcome = Run({verb.name.c_str(), "--help"});
    EXPECT_EQ(outcome.code, 0) << verb.name;
    EXPECT_THAT(outcome.out, StartsWith(absl::StrCat(verb.description, "\n\nExamples:\n  ")))
        << verb.name;
    EXPECT_LT(outcome.out.find("Examples:"), outcome.out.find("Usage:")) << verb.name;
    ASSERT_FALSE(verb.examples.empty()) << verb.name;
    for (const Example& example : verb.examples) {
      EXPECT_THAT(example.command, HasSubstr(absl::StrCat("weightctl ", verb.name)));
    }
  }
}

// The other way round: a verb that is not in the table ends the program (AddVerb).
TEST_F(HelpTest, TheTableHasEachVerbOnce) {
  std::set<std::string> names;
  for (const VerbText& verb : VerbTable()) EXPECT_TRUE(names.insert(verb.name).second) << verb.name;
  EXPECT_EQ(FindVerbText("frobnicate"), nullptr);
}

TEST_F(HelpTest, OptionsAreShownWithWhatTheirValueIsCalled) {
  const std::string help = Run({"stage", "--help"}).out;
  for (const char* option : {"--wait", "--pin", "--device DEVICE ...", "--bandwidth BYTES  ",
                             "--verify MODE", "Everywhere: --socket-dir DIR, -o,--output FORMAT"}) {
    EXPECT_THAT(help, HasSubstr(option));
  }
  EXPECT_THAT(help, Not(HasSubstr("REQUIRED")));
}

TEST_F(HelpTest, TheManPageHasEveryVerbWithItsOptions) {
  const std::string page = RunAll({"weightctl", "__man"}).out;
  EXPECT_THAT(page, StartsWith(".TH WEIGHTCTL 1 "));
  for (const VerbText& verb : VerbTable()) {
    EXPECT_THAT(page, HasSubstr(absl::StrCat("\n.SS weightctl ", verb.name, " ["))) << verb.name;
  }
  EXPECT_THAT(page,
              AllOf(HasSubstr("\\-\\-staged"), HasSubstr("NO_COLOR"), HasSubstr("not ready")));
}

}  // namespace
}  // namespace weightd::cli
