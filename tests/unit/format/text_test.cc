#include "daemon/format/text.h"

#include <string>

#include "gtest/gtest.h"

namespace weightd {
namespace {

constexpr size_t kNone = absl::string_view::npos;

TEST(TextTest, FindsTheFirstControlCharacter) {
  EXPECT_EQ(FindControlCharacter(""), kNone);
  EXPECT_EQ(FindControlCharacter("\t\n\r plain text of some lines\r\n\twith white space\n"), kNone);
  EXPECT_EQ(FindControlCharacter("\x7F\xC3\xA9\xF0\x9F\x98\x80\xFF\x80"), kNone);
  for (size_t position = 0; position < 20; ++position) {
    for (const char c : {'\0', '\x01', '\b', '\v', '\f', '\x0E', '\x1A', '\x1F'}) {
      std::string text(20, 'a');
      text[position] = c;
      EXPECT_EQ(FindControlCharacter(text), position);
      text.replace(0, position, position, '\n');
      EXPECT_EQ(FindControlCharacter(text), position);
    }
  }
}

TEST(TextTest, QuotesForMessages) {
  EXPECT_EQ(Quoted("model.norm"), "\"model.norm\"");
  EXPECT_EQ(Quoted("a\nb\"c"), "\"a\\nb\\\"c\"");
  EXPECT_EQ(Quoted("\xC3\xA9"), "\"\xC3\xA9\"");
  EXPECT_EQ(Quoted("\xFF"), "\"\\xff\"");
}

TEST(TextTest, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(Quoted(std::string(128, 'a')), "\"" + std::string(128, 'a') + "\"");
  EXPECT_EQ(Quoted(std::string(129, 'a')), "\"" + std::string(128, 'a') + "\"...");
  EXPECT_EQ(Quoted(std::string(127, 'a') + "\xC3\xA9"), "\"" + std::string(127, 'a') + "\"...");
}

}  // namespace
}  // namespace weightd
