#include "client/cli/suggestion.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace weightd::cli {
namespace {

const std::vector<std::string> kVerbs = {"ls",     "ps",    "stage", "stages",
                                         "status", "evict", "pin",   "unpin"};

TEST(SuggestionTest, FindsWhatWasMeant) {
  EXPECT_EQ(Suggestion("stge", kVerbs), "stage");
  EXPECT_EQ(Suggestion("satge", kVerbs), "stage");
  EXPECT_EQ(Suggestion("evcit", kVerbs), "evict");
  EXPECT_EQ(Suggestion("statsu", kVerbs), "status");
  EXPECT_EQ(Suggestion("unpn", kVerbs), "unpin");
}

TEST(SuggestionTest, ABeginningIsEnough) {
  EXPECT_EQ(Suggestion("ev", kVerbs), "evict");
  EXPECT_EQ(Suggestion("stat", kVerbs), "status");
  EXPECT_EQ(Suggestion("s", kVerbs), "");
}

TEST(SuggestionTest, SaysNothingWhereNothingIsNear) {
  EXPECT_EQ(Suggestion("", kVerbs), "");
  EXPECT_EQ(Suggestion("x", kVerbs), "");
  EXPECT_EQ(Suggestion("delete", kVerbs), "");
  EXPECT_EQ(Suggestion("xy", kVerbs), "");
  EXPECT_EQ(Suggestion("stage", {}), "");
}

}  // namespace
}  // namespace weightd::cli
