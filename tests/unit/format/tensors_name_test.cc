#include "daemon/format/tensors_name.h"

#include <string>
#include <vector>

#include "tests/support/common/status_matchers.h"

// Names: formats.md 1.6.1.

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using namespace std::string_literals;  // NOLINT: strings with NUL

TEST(TensorsNameTest, ReadsPlainNamesAndPaths) {
  const struct {
    std::string raw;
    std::string text;
    size_t keys;
  } kCases[] = {
      {"w", "w", 1},
      {".scale", ".scale", 1},
      {"a/b c.d", "a/b c.d", 1},
      {"a\0b"s, "a\0b"s, 1},
      {"\x1e[\"w\"]", "w", 1},
      {"\x1e[\"model\",\"layers\",0,\"w\"]", "model.layers.0.w", 4},
      {"\x1e[0]", "0", 1},
      {"\x1e[ \"a\" , 12 ]", "a.12", 2},
      {"\x1e[\"\\u00e4\\ud83d\\ude00\"]", "\xc3\xa4\xf0\x9f\x98\x80", 1},
      {"\x1e[\"\\u001ex\"]", "\x1ex", 1},
  };
  for (const auto& wanted : kCases) {
    ASSERT_OK_AND_ASSIGN(const TensorsName name, ParseTensorsName(wanted.raw));
    EXPECT_EQ(name.text, wanted.text);
    EXPECT_EQ(name.path.size(), wanted.keys) << wanted.text;
    EXPECT_EQ(name.is_path, wanted.raw[0] == '\x1e');
  }
}

TEST(TensorsNameTest, RefusesWhatTheFormatDoes) {
  const struct {
    std::string raw;
    const char* why;
  } kCases[] = {
      {"", "empty"},
      {"\xff", "not UTF-8"},
      {"\x1e", "wanted a JSON array"},
      {"\x1ew", "wanted a JSON array"},
      {"\x1e {\"a\":1}", "wanted a JSON array"},
      {"\x1e[\"a\"] ", "wanted a JSON array"},
      {"\x1e[\"a\",\n\"b\"]", "line breaks"},
      {"\x1e[]", "without keys"},
      {"\x1e[\"\"]", "empty"},
      {"\x1e[\"a\",[\"b\"]]", "one array"},
      {"\x1e[\"a\",{\"b\":1}]", "one array"},
      {"\x1e[-1]", "wanted a string or an index"},
      {"\x1e[1.5]", "wanted a string or an index"},
      {"\x1e[null]", "wanted a string or an index"},
      {"\x1e[\"a\",]", "not valid JSON"},
      {"\x1e[\"a\"]]", "not valid JSON"},
      {"\x1e[\"\\ud83d\"]", "surrogate"},
  };
  for (const auto& refused : kCases) {
    EXPECT_THAT(ParseTensorsName(refused.raw),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(refused.why)))
        << refused.raw;
  }
}

TEST(TensorsNameTest, WritesNamesThatItReadsBack) {
  for (const std::string text : {"w", ".scale", "\x1ex", "\x1e[\"a\"]", "\x1e\"\\\n\x01\xc3\xa4"}) {
    ASSERT_OK_AND_ASSIGN(const TensorsName name, ParseTensorsName(FormatTensorsName(text)));
    EXPECT_EQ(name.text, text);
  }
  EXPECT_EQ(FormatTensorsName("a.b"), "a.b");
}

absl::Status AddAll(const std::vector<std::string>& names) {
  TensorsNameSet set;
  absl::Status status;
  for (const std::string& raw : names) {
    if (status.ok()) status = set.Add(*ParseTensorsName(raw));
  }
  return status;
}

TEST(TensorsNameSetTest, TakesNamesThatGoTogether) {
  EXPECT_OK(AddAll({"a", "b", "a.b", ".a"}));
  EXPECT_OK(AddAll({"\x1e[\"a\",0]", "\x1e[\"a\",1]", "\x1e[\"b\"]"}));
  EXPECT_OK(AddAll({"\x1e[0,\"w\"]", "\x1e[1,\"w\"]"}));
}

TEST(TensorsNameSetTest, RefusesConflicts) {
  const struct {
    std::vector<std::string> names;
    const char* why;
  } kCases[] = {
      {{"a", "a"}, "occurs twice"},
      {{"a", "\x1e[\"a\"]"}, "occurs twice"},
      {{"\x1e[\"a\",1]", "\x1e[\"a\", 1]"}, "occurs twice"},
      // Two leaves that would have one name here.
      {{"a.b", "\x1e[\"a\",\"b\"]"}, "occurs twice"},
      {{"a", "\x1e[\"a\",0]"}, "lies below"},
      {{"\x1e[\"a\",0]", "a"}, "has others below"},
      {{"\x1e[\"a\",0]", "\x1e[\"a\",\"b\"]"}, "where others have"},
      {{"a", "\x1e[0]"}, "where others have"},
  };
  for (const auto& refused : kCases) {
    EXPECT_THAT(AddAll(refused.names),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(refused.why)))
        << refused.names.back();
  }
}

}  // namespace
}  // namespace weightd::testing
