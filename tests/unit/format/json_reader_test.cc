#include "daemon/format/json_reader.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/format/text.h"
#include "tests/support/common/status_matchers.h"

// What json_reader.h promises of the text itself; safetensors_header_json_test.cc has more of it,
// as a header meets it.

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint64_t kFileOffset = 1000;

// Writes tokens down; refuses the one with the number `refused`.
class Recorder final : public JsonHandler {
 public:
  explicit Recorder(size_t refused = ~size_t{0}) : refused_(refused) {}

  absl::Status StartObject() override { return Add("{"); }
  absl::Status EndObject() override { return Add("}"); }
  absl::Status StartArray() override { return Add("["); }
  absl::Status EndArray() override { return Add("]"); }
  absl::Status Key(absl::string_view key) override { return Add(absl::StrCat(key, ":")); }
  absl::Status Scalar(const JsonScalar& scalar) override {
    return Add(scalar.kind == JsonScalar::Kind::kString ? std::string(scalar.text)
                                                        : scalar.Describe());
  }

  std::vector<std::string> tokens;

 private:
  absl::Status Add(std::string token) {
    if (tokens.size() == refused_) return JsonError("refused");
    tokens.push_back(std::move(token));
    return absl::OkStatus();
  }

  const size_t refused_;
};

absl::Status Read(absl::string_view text, Recorder& recorder) {
  return ReadJson({.text = std::string(text), .what = "text", .file_offset = kFileOffset},
                  recorder);
}

absl::Status Read(absl::string_view text) {
  Recorder recorder;
  return Read(text, recorder);
}

std::vector<std::string> Tokens(absl::string_view text) {
  Recorder recorder;
  const absl::Status status = Read(text, recorder);
  if (!status.ok()) return {status.ToString()};
  return recorder.tokens;
}

void ExpectInvalid(absl::string_view text, const std::string& message) {
  EXPECT_THAT(Read(text), StatusIs(absl::StatusCode::kDataLoss,
                                   AllOf(StartsWith("read text at 1"), HasSubstr(message))))
      << Quoted(text);
}

// "at <offset>: ", where `position` counts from the start of the text.
std::string At(size_t position) { return absl::StrCat(" at ", kFileOffset + position, ": "); }

TEST(JsonReaderTest, PassesTokensInOrder) {
  EXPECT_THAT(Tokens(R"( {"a" : [1, "x", true, false, null, {}, []], "b": {"c": ""}} )"),
              ElementsAre("{", "a:", "[", "the number 1", "x", "a boolean", "a boolean", "null",
                          "{", "}", "[", "]", "]", "b:", "{", "c:", "", "}", "}"));
  EXPECT_THAT(Tokens("7"), ElementsAre("the number 7"));
}

TEST(JsonReaderTest, TellsIntegersFromOtherNumbers) {
  class Kinds final : public JsonHandler {
   public:
    absl::Status StartObject() override { return absl::OkStatus(); }
    absl::Status EndObject() override { return absl::OkStatus(); }
    absl::Status StartArray() override { return absl::OkStatus(); }
    absl::Status EndArray() override { return absl::OkStatus(); }
    absl::Status Key(absl::string_view) override { return absl::OkStatus(); }
    absl::Status Scalar(const JsonScalar& scalar) override {
      last = scalar.kind == JsonScalar::Kind::kUnsigned ? absl::StrCat(scalar.number)
                                                        : absl::StrCat("text ", scalar.text);
      return absl::OkStatus();
    }
    std::string last;
  };
  for (const char* number : {"0", "7", "4294967295", "4294967296", "9223372036854775808",
                             "18446744073709551614", "18446744073709551615"}) {
    Kinds kinds;
    ASSERT_OK(ReadJson({.text = number, .what = "text"}, kinds));
    EXPECT_EQ(kinds.last, number);
  }
  for (const char* number :
       {"-0", "-1", "0.0", "1.0", "1e0", "1E+2", "-2147483649", "18446744073709551616",
        "99999999999999999999999", "-9223372036854775809", "0.1234567890123456789", "1e-999",
        "1.7976931348623157e308", "-1.7976931348623157E308"}) {
    Kinds kinds;
    ASSERT_OK(ReadJson({.text = absl::StrCat("[", number, " ]"), .what = "text"}, kinds)) << number;
    EXPECT_EQ(kinds.last, absl::StrCat("text ", number));
  }
}

TEST(JsonReaderTest, RefusesNumbersBeyondADouble) {
  for (const std::string& number :
       {std::string("1e309"), std::string("1.8e308"), std::string("-1.8e308"), std::string("9e308"),
        std::string("1e99999999999999999999"), std::string(310, '9'), "-" + std::string(400, '1'),
        std::string("0e309")}) {  // the last one is valid; RapidJSON refuses it
    ExpectInvalid(number, At(number.size()) + "not valid JSON: number too big");
    ExpectInvalid(absl::StrCat("[", number, ",1]"),
                  At(1 + number.size()) + "not valid JSON: number too big");
  }
}

TEST(JsonReaderTest, RefusesWhatOnlyLooksLikeANumber) {
  for (const char* text : {"01", "-", "+1", "1.", ".5", "1e", "1e+", "--1", "0x1", "1_000", "1.e5",
                           "- 1", "Infinity", "-Infinity", "NaN", "1f"}) {
    ExpectInvalid(text, "not valid JSON: ");
  }
}

TEST(JsonReaderTest, RefusesControlCharactersEverywhere) {
  for (int c = 1; c < 0x20; ++c) {
    // In strings of many lengths: they are read sixteen bytes at a time.
    for (size_t before = 0; before < 40; ++before) {
      const std::string text =
          absl::StrCat("\"", std::string(before, 'a'), std::string(1, static_cast<char>(c)),
                       std::string(20, 'b'), "\"");
      ExpectInvalid(text, "not valid JSON: ");
    }
    if (c == '\t' || c == '\n' || c == '\r') continue;
    ExpectInvalid(absl::StrCat("[1", std::string(1, static_cast<char>(c)), "]"),
                  At(2) + absl::StrFormat("not valid JSON: control character 0x%02x", c));
  }
  ExpectInvalid(absl::string_view("[1]\0", 4), At(3) + "not valid JSON: NUL byte");
  EXPECT_THAT(Tokens("\"\x7F\""), ElementsAre("\x7F"));
}

TEST(JsonReaderTest, DecodesEscapesWhereverTheyStand) {
  for (size_t before = 0; before < 40; ++before) {
    for (size_t after : {0, 1, 15, 16, 17, 40}) {
      const std::string a(before, 'a');
      const std::string b(after, 'b');
      EXPECT_THAT(Tokens(absl::StrCat(R"([")", a, R"(\n\u00e9\ud83d\ude00\"\\\/)", b, R"(",")", b,
                                      R"(\b\f\r\t)", a, R"("])")),
                  ElementsAre("[", absl::StrCat(a, "\n\xC3\xA9\xF0\x9F\x98\x80\"\\/", b),
                              absl::StrCat(b, "\b\f\r\t", a), "]"));
    }
  }
}

TEST(JsonReaderTest, RefusesSurrogatesWithoutTheirPair) {
  for (const char* escapes : {R"(\udc00)", R"(\udfff)", R"(\ud800)", R"(\ud800x)", R"(\ud800\n)",
                              R"(\udc00\ud800)", R"(\ud800\ud800)", R"(\ud83d\ude00\ude00)"}) {
    ExpectInvalid(absl::StrCat("[\"", escapes, "\"]"), "surrogate pair in string is invalid");
    ExpectInvalid(absl::StrCat("{\"", escapes, "\":1}"), "surrogate pair in string is invalid");
  }
  EXPECT_OK(Read(R"(["\ud7ff\ue000\ud800\udc00\udbff\udfff"])"));
}

TEST(JsonReaderTest, RefusesATextThatEndsAnywhere) {
  const std::string whole =
      R"({"a key of some length":[12,"text of some length\n\u00e9",true,{}]})";
  ASSERT_OK(Read(whole));
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const std::string text = whole.substr(0, bytes);
    ExpectInvalid(text, "not valid JSON: ");
    // An escape that is cut off is reported where it began.
    if (text.find('\\') == std::string::npos) ExpectInvalid(text, At(bytes));
  }
}

TEST(JsonReaderTest, SaysWhatIsWrongAndWhere) {
  ExpectInvalid("", At(0) + "not valid JSON: the document is empty, the text ends");
  ExpectInvalid("{} {}", At(4) +
                             "not valid JSON: the document root must not be followed by other "
                             "values, found \"{\"");
  ExpectInvalid(
      "[1 2]",
      At(4) + "not valid JSON: missing a comma or ']' after an array element, found \"2\"");
  ExpectInvalid(
      R"({"a" 1})",
      At(6) + "not valid JSON: missing a colon after a name of object member, found \"1\"");
  ExpectInvalid("[1,]", At(4) + "not valid JSON: invalid value, found \"]\"");
  ExpectInvalid("[\"\xC3\xA9\" x", At(7) + "not valid JSON: missing a comma");
  ExpectInvalid("[\xC2\xA0]", "not valid JSON: invalid value, found \"\\xc2\"");
}

TEST(JsonReaderTest, PutsWhatTheHandlerRefusesJustBehindItsToken) {
  const std::string text = R"({"k":[12,-3.5,"s\n",null,{"":true}],"last":[]})";
  const std::vector<std::string> until = {"{", R"("k")", "[",    "12", "-3.5", R"("s\n")", "null",
                                          "{", R"("")",  "true", "}",  "]",    R"("last")"};
  size_t position = 0;
  for (size_t i = 0; i < until.size(); ++i) {
    position = text.find(until[i], position) + until[i].size();
    Recorder recorder(i);
    EXPECT_THAT(Read(text, recorder), StatusIs(absl::StatusCode::kDataLoss,
                                               absl::StrCat("read text", At(position), "refused")));
    EXPECT_EQ(recorder.tokens.size(), i);
  }
}

TEST(JsonReaderTest, HoldsTheDepth) {
  const auto nested = [](size_t levels) {
    return absl::StrCat(std::string(levels, '['), std::string(levels, ']'));
  };
  EXPECT_OK(Read(nested(kJsonDepthMax)));
  ExpectInvalid(nested(kJsonDepthMax + 1), At(kJsonDepthMax + 1) + "nested deeper than 127 levels");
  std::string siblings = "[";
  for (int i = 0; i < 1000; ++i) siblings += "[{}],";
  EXPECT_OK(Read(siblings + "0]")) << "levels that were left do not count";
}

}  // namespace
}  // namespace weightd::testing
