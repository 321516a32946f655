#include "common/printable_text.h"

#include "gtest/gtest.h"

namespace weightd {
namespace {

TEST(PrintableTextTest, TextOfPeopleStays) {
  for (const char* text :
       {"", "org/name-7b", "Größe", "模型", "модель", "نموذج", "🚀", "a\\b \"c\""}) {
    EXPECT_EQ(PrintableText(text), text);
  }
}

TEST(PrintableTextTest, ControlCharactersAreSeen) {
  EXPECT_EQ(PrintableText("\x1b[2J\a\r\n\t\x7f"), "\\x1b[2J\\x07\\x0d\\x0a\\x09\\x7f");
  EXPECT_EQ(PrintableText(absl::string_view("a\0b", 3)), "a\\x00b");
  // CSI and NEL, as UTF-8 has them: some terminals obey these, too.
  EXPECT_EQ(PrintableText("\xc2\x9b"
                          "2J\xc2\x85\xc2\x80\xc2\x9f"),
            "\\u{9b}2J\\u{85}\\u{80}\\u{9f}");
  EXPECT_EQ(PrintableText("\xc2\xa0"), "\xc2\xa0") << "the first after them";
}

// What shows text in another order than it has ("Trojan Source"), or not at all.
TEST(PrintableTextTest, MarksOfDirectionAndSeparatorsAreSeen) {
  EXPECT_EQ(PrintableText("a\u202Eb"), "a\\u{202e}b");
  for (const char* hidden :
       {"\u061C", "\u200B", "\u200E", "\u200F", "\u2028",     "\u2029",    "\u202A",
        "\u202B", "\u202C", "\u202D", "\u202E", "\u2060",     "\u2066",    "\u2067",
        "\u2068", "\u2069", "\uFEFF", "\u00AD", "\U000E0001", "\U000E0041"}) {
    EXPECT_EQ(PrintableText(hidden).substr(0, 3), "\\u{") << hidden;
  }
  for (const char* seen : {"\u200A", "\u2010", "\u2027", "\u202F", "\u2070", "\u061B", "\uFFFD"}) {
    EXPECT_EQ(PrintableText(seen), seen);
  }
}

TEST(PrintableTextTest, WhatIsNoUtf8IsSeen) {
  EXPECT_EQ(PrintableText("a\xff"
                          "b"),
            "a\\xffb");
  EXPECT_EQ(PrintableText("\x9b"
                          "2J"),
            "\\x9b2J")
      << "CSI of a terminal of 8 bits";
  EXPECT_EQ(PrintableText("\xe2\x80"), "\\xe2\\x80") << "cut";
  EXPECT_EQ(PrintableText("\xc0\x9b"), "\\xc0\\x9b") << "overlong";
  EXPECT_EQ(PrintableText("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "a surrogate";
  EXPECT_EQ(PrintableText("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80") << "above U+10FFFF";
}

TEST(FindInvalidUtf8Test, FindsTheFirstByteThatIsNotUtf8) {
  EXPECT_EQ(FindInvalidUtf8(""), absl::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("plain text of more than eight bytes"), absl::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xEF\xBF\xBF"),
            absl::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"),
            absl::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("0123456789\x80"), 10u);
  EXPECT_EQ(FindInvalidUtf8("a\xC1\xBF"), 1u);
  EXPECT_EQ(FindInvalidUtf8("\xE0\x9F\xBF"), 0u);
  EXPECT_EQ(FindInvalidUtf8("\xED\xA0\x80"), 0u);
  EXPECT_EQ(FindInvalidUtf8("\xF0\x8F\xBF\xBF"), 0u);
  EXPECT_EQ(FindInvalidUtf8("\xF4\x90\x80\x80"), 0u);
  EXPECT_EQ(FindInvalidUtf8("\xF5\x80\x80\x80"), 0u);
  EXPECT_EQ(FindInvalidUtf8("ab\xE2\x82"), 2u);
  EXPECT_EQ(FindInvalidUtf8("ab\xF0\x9F\x98"), 2u);
}

TEST(Utf8CharacterBytesTest, NoneIsZero) {
  EXPECT_EQ(Utf8CharacterBytes(""), 0);
  EXPECT_EQ(Utf8CharacterBytes("a"), 1);
  EXPECT_EQ(Utf8CharacterBytes("ö"), 2);
  EXPECT_EQ(Utf8CharacterBytes("模型"), 3);
  EXPECT_EQ(Utf8CharacterBytes("🚀"), 4);
}

}  // namespace
}  // namespace weightd
