#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_header.h"

// What the header may look like as JSON text: formats.md 2.2 without the meaning of entries.

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::string_view kValid = R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";

struct BadText {
  const char* name;
  std::string header;
  const char* message;
};

std::string Levels(int arrays) {
  return OneTensor(absl::StrCat(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":)",
                                std::string(arrays, '['), std::string(arrays, ']'), "}"));
}

class BadTextTest : public ::testing::TestWithParam<BadText> {};

TEST_P(BadTextTest, IsRefused) {
  const auto result = ParseHeader(GetParam().header, 4);
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kDataLoss,
                               AllOf(StartsWith("read header of m.safetensors"),
                                     HasSubstr(GetParam().message))));
  EXPECT_THAT(result, ReasonIs(Reason::kCheckpointInvalid, ::testing::_));
  EXPECT_EQ(GetReasonMetadata(result.status())["file"], "m.safetensors");
}

INSTANTIATE_TEST_SUITE_P(
    Header, BadTextTest,
    ::testing::Values(
        BadText{"Empty", "", "not valid JSON"}, BadText{"OnlySpace", "    ", "not valid JSON"},
        BadText{"CutOff", std::string(kValid.substr(0, 30)), "not valid JSON"},
        BadText{"TopLevelArray", "[]", "wanted an object with the tensors"},
        BadText{"TopLevelString", R"("x")", "wanted an object with the tensors"},
        BadText{"TopLevelNumber", "1", "wanted an object with the tensors"},
        BadText{"TopLevelNull", "null", "wanted an object with the tensors"},
        BadText{"ByteOrderMark", absl::StrCat("\xEF\xBB\xBF", kValid), "byte order mark"},
        BadText{"TextAfterObject", absl::StrCat(kValid, "x"), "not valid JSON"},
        BadText{"SecondObject", absl::StrCat(kValid, "{}"), "not valid JSON"},
        BadText{"CommaAfterObject", absl::StrCat(kValid, ","), "not valid JSON"},
        BadText{"NulPadding", absl::StrCat(kValid, std::string(3, '\0')),
                "at 61: not valid JSON: NUL"},
        BadText{"TextAfterNul", absl::StrCat(kValid, std::string(1, '\0'), "}"), "NUL"},
        BadText{"NulBefore", absl::StrCat(std::string(1, '\0'), kValid), "NUL"},
        BadText{"NulInName", absl::StrCat("{\"a", std::string(1, '\0'), "\":1}"), "NUL"},
        BadText{"FormFeedPadding", absl::StrCat(kValid, "\f"), "not valid JSON"},
        BadText{"NoBreakSpacePadding", absl::StrCat(kValid, "\xC2\xA0"), "not valid JSON"},
        BadText{"TrailingComma", R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},})",
                "not valid JSON"},
        BadText{"TrailingCommaInArray",
                OneTensor(R"({"dtype":"U8","shape":[4,],"data_offsets":[0,4]})"), "not valid JSON"},
        BadText{"BlockComment", absl::StrCat("/* */", kValid), "not valid JSON"},
        BadText{"LineComment", absl::StrCat(kValid, "// x"), "not valid JSON"},
        BadText{"Nan", OneTensor(R"({"dtype":"U8","shape":[NaN],"data_offsets":[0,4]})"),
                "not valid JSON"},
        BadText{"Infinity", OneTensor(R"({"dtype":"U8","shape":[Infinity],"data_offsets":[0,4]})"),
                "not valid JSON"},
        BadText{"SingleQuotes", R"({'w':1})", "not valid JSON"},
        BadText{"KeyWithoutQuotes", R"({w:1})", "not valid JSON"},
        BadText{"InvalidUtf8InName", "{\"\xFF\":1}", "at 10: not valid UTF-8"},
        BadText{"InvalidUtf8BetweenTokens", "{\xC3 \"w\":1}", "at 9: not valid UTF-8"},
        BadText{"OverlongUtf8", "{\"\xC0\xAF\":1}", "not valid UTF-8"},
        BadText{"SurrogateInUtf8", "{\"\xED\xA0\x80\":1}", "not valid UTF-8"},
        BadText{"Utf8CutOff", "{\"w\xE2\x82\":1}", "not valid UTF-8"},
        BadText{"UnpairedHighSurrogate", R"({"\ud800":1})", "not valid JSON"},
        BadText{"UnpairedLowSurrogate", R"({"\udc00":1})", "not valid JSON"},
        BadText{"HighSurrogateTwice", R"({"\ud800\ud800":1})", "not valid JSON"},
        BadText{"ControlCharacterInString", "{\"a\nb\":1}", "not valid JSON"},
        BadText{"InvalidEscape", R"({"\x41":1})", "not valid JSON"},
        BadText{"ShortUnicodeEscape", R"({"\u12":1})", "not valid JSON"},
        BadText{"LevelsAbove127", Levels(126), "nested deeper than 127 levels"},
        BadText{"MillionLevels", std::string(1'000'000, '['), "wanted an object"},
        BadText{"MillionLevelsInside", Levels(1'000'000), "nested deeper than 127 levels"},
        BadText{"NumberTooLargeForDouble",
                OneTensor(R"({"dtype":"U8","shape":[1e999],"data_offsets":[0,4]})"),
                "not valid JSON"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(SafetensorsHeaderJsonTest, Accepts127Levels) { EXPECT_OK(ParseHeader(Levels(125))); }

TEST(SafetensorsHeaderJsonTest, AcceptsAnyJsonWhiteSpaceAround) {
  EXPECT_OK(ParseHeader(absl::StrCat(" \t\r\n", kValid, " \t\r\n"), 4));
}

TEST(SafetensorsHeaderJsonTest, AcceptsWhiteSpaceInside) {
  EXPECT_OK(
      ParseHeader("{ \"w\" :\n{\t\"dtype\" : \"U8\",\r\"shape\" : [ 4 ] , "
                  "\"data_offsets\": [ 0 , 4 ] } }",
                  4));
}

TEST(SafetensorsHeaderJsonTest, DecodesEscapesAndKeepsUtf8InNames) {
  ASSERT_OK_AND_ASSIGN(
      const ShardHeader header,
      ParseHeader("{\"\\u00e9\\ud83d\\ude00\\\"\\u0000\xC3\xA9\":{\"dtype\":\"U8\",\"shape\":[0],"
                  "\"data_offsets\":[0,0]}}"));
  ASSERT_EQ(header.tensors.size(), 1u);
  EXPECT_EQ(header.tensors[0].name, std::string("\xC3\xA9\xF0\x9F\x98\x80\"\0\xC3\xA9", 10));
}

TEST(SafetensorsHeaderJsonTest, NamesThePlaceInTheFile) {
  // The wrong token ends at byte 23 of the header, which begins at 8.
  EXPECT_THAT(ParseHeader(R"({"w":{"dtype":"U8","s":x}})"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("m.safetensors at 32: not valid")));
}

TEST(SafetensorsHeaderJsonTest, KeepsMessagesShortAndPrintable) {
  const std::string header = absl::StrCat("{\"", std::string(100'000, 'x'), "\n\":1}");
  const auto result = ParseHeader(header);
  ASSERT_FALSE(result.ok());
  EXPECT_LT(result.status().message().size(), 400u);
  EXPECT_EQ(result.status().message().find('\n'), absl::string_view::npos);
}

}  // namespace
}  // namespace weightd::testing
