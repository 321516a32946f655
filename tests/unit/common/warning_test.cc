#include "common/warning.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace weightd {
namespace {

TEST(WarningTest, EveryReasonHasAWordOfItsOwn) {
  std::set<std::string> words;
  for (const WarningReason reason : AllWarningReasons()) {
    const std::string word(WarningWord(reason));
    EXPECT_EQ(WarningReasonFromWord(word), reason) << word;
    EXPECT_EQ(word.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_"), std::string::npos) << word;
    words.insert(word);
  }
  EXPECT_EQ(words.size(), AllWarningReasons().size());
  EXPECT_FALSE(WarningReasonFromWord("no_gpu").has_value());
  EXPECT_FALSE(WarningReasonFromWord("").has_value());
}

}  // namespace
}  // namespace weightd
