#include "daemon/format/json_reader.h"

// Strings and white space sixteen bytes at a time: the text is padded for it. Not everything that
// RapidJSON then takes for a string is one (CheckBytes).
#ifdef __SSE2__
#define RAPIDJSON_SSE2
#endif
#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/errors.h"
#include "common/printable_text.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr absl::string_view kNumberCharacters = "+-.0123456789Ee";

// Strings are decoded in place. The parser recurses once a level, which SaxAdapter bounds. Numbers
// come as text: as numbers they would lose their spelling.
constexpr unsigned kParseFlags =
    rapidjson::kParseInsituFlag | rapidjson::kParseNumbersAsStringsFlag;

// Passes RapidJSON's SAX events on, counts levels and keeps the first error.
class SaxAdapter : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, SaxAdapter> {
 public:
  SaxAdapter(JsonHandler& handler, bool has_escapes)
      : handler_(handler), has_escapes_(has_escapes) {}

  const absl::Status& status() const { return status_; }
  // Bytes of the number that the last event was, 0 if it was none.
  size_t number_bytes() const { return number_bytes_; }

  // The names and signatures are those of RapidJSON's Handler.
  bool Null() { return Pass(handler_.Scalar({.kind = JsonScalar::Kind::kNull})); }
  bool Bool(bool) { return Pass(handler_.Scalar({.kind = JsonScalar::Kind::kBoolean})); }
  bool RawNumber(const char* data, rapidjson::SizeType bytes, bool) {
    number_bytes_ = bytes;
    const bool passed = Pass(Number({data, bytes}));
    if (passed) number_bytes_ = 0;
    return passed;
  }
  bool String(const char* data, rapidjson::SizeType bytes, bool) {
    const absl::string_view text(data, bytes);
    return CheckString(text) &&
           Pass(handler_.Scalar({.kind = JsonScalar::Kind::kString, .text = text}));
  }
  bool Key(const char* data, rapidjson::SizeType bytes, bool) {
    const absl::string_view text(data, bytes);
    return CheckString(text) && Pass(handler_.Key(text));
  }
  bool StartObject() { return Enter() && Pass(handler_.StartObject()); }
  bool EndObject(rapidjson::SizeType) { return Leave() && Pass(handler_.EndObject()); }
  bool StartArray() { return Enter() && Pass(handler_.StartArray()); }
  bool EndArray(rapidjson::SizeType) { return Leave() && Pass(handler_.EndArray()); }

 private:
  bool Pass(absl::Status status) {
    if (status.ok()) return true;
    status_ = std::move(status);
    return false;
  }

  // `text` has the form of a JSON number.
  absl::Status Number(absl::string_view text) {
    uint64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error == std::errc() && stop == end) {
      return handler_.Scalar({.kind = JsonScalar::Kind::kUnsigned, .number = number});
    }
    double value = 0;
    if (!absl::SimpleAtod(text, &value) || !std::isfinite(value)) {
      return JsonError("not valid JSON: number too big to be stored in double");
    }
    return handler_.Scalar({.kind = JsonScalar::Kind::kNumber, .text = text});
  }

  // RapidJSON lets the escape of a low surrogate pass that stands alone.
  bool CheckString(absl::string_view text) {
    if (!has_escapes_ || FindInvalidUtf8(text) == absl::string_view::npos) return true;
    return Pass(JsonError("not valid JSON: the surrogate pair in string is invalid"));
  }

  bool Enter() {
    if (++depth_ <= kJsonDepthMax) return true;
    return Pass(JsonError(absl::StrCat("nested deeper than ", kJsonDepthMax, " levels")));
  }
  bool Leave() {
    --depth_;
    return true;
  }

  JsonHandler& handler_;
  const bool has_escapes_;  // of any string of the text
  uint32_t depth_ = 0;
  size_t number_bytes_ = 0;
  absl::Status status_;
};

// What the parser would let pass. The returned error lacks its place, which goes to `position`.
absl::Status CheckBytes(absl::string_view text, size_t* position) {
  *position = 0;
  if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    return JsonError("not valid JSON: begins with a byte order mark");
  }
  *position = FindInvalidUtf8(text);
  if (*position != absl::string_view::npos) return JsonError("not valid UTF-8");
  *position = FindControlCharacter(text);
  if (*position == absl::string_view::npos) return absl::OkStatus();
  const char found = text[*position];
  if (found == '\0') {
    return JsonError("not valid JSON: NUL byte, only white space may pad the text");
  }
  return JsonError(absl::StrFormat("not valid JSON: control character 0x%02x", found));
}

// The parser's own message in our style, with what it stumbled on.
absl::Status ParserError(const rapidjson::ParseResult& result, absl::string_view text) {
  std::string reason(absl::StripSuffix(rapidjson::GetParseError_En(result.Code()), "."));
  reason[0] = absl::ascii_tolower(static_cast<unsigned char>(reason[0]));
  const std::string found = result.Offset() < text.size()
                                ? absl::StrCat("found ", Quoted(text.substr(result.Offset(), 1)))
                                : "the text ends";
  return JsonError(absl::StrCat("not valid JSON: ", reason, ", ", found));
}

// Just behind what is wrong. RapidJSON gives the end of the token that a handler refused, but the
// start of a number and of what it does not understand.
size_t ErrorPosition(const rapidjson::ParseResult& result, absl::string_view text,
                     size_t number_bytes) {
  if (result.Code() == rapidjson::kParseErrorTermination) return result.Offset() + number_bytes;
  if (result.Code() == rapidjson::kParseErrorNumberTooBig) {
    return std::min(text.find_first_not_of(kNumberCharacters, result.Offset()), text.size());
  }
  return std::min(result.Offset() + 1, text.size());
}

}  // namespace

std::string JsonScalar::Describe() const {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBoolean:
      return "a boolean";
    case Kind::kUnsigned:
      return absl::StrCat("the number ", number);
    case Kind::kNumber:
      return absl::StrCat("the number ", text.substr(0, 40), text.size() > 40 ? "..." : "");
    case Kind::kString:
      return absl::StrCat("the string ", Quoted(text));
  }
  return "a value";
}

absl::Status JsonError(absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kDataLoss, Reason::kCheckpointInvalid, message);
}

absl::Status ReadJson(JsonSource source, JsonHandler& handler) {
  const auto with_place = [&](const absl::Status& status, size_t position) {
    return Annotate(status,
                    absl::StrCat("read ", source.what, " at ", source.file_offset + position));
  };
  const size_t bytes = source.text.size();
  size_t position = 0;
  absl::Status status = CheckBytes(source.text, &position);
  if (!status.ok()) return with_place(status, position);

  const bool has_escapes = absl::StrContains(source.text, '\\');
  source.text.append(kJsonPaddingBytes, '\0');
  const absl::string_view text(source.text.data(), bytes);
  SaxAdapter adapter(handler, has_escapes);
  rapidjson::InsituStringStream stream(source.text.data());
  rapidjson::Reader reader;
  const rapidjson::ParseResult result = reader.Parse<kParseFlags>(stream, adapter);
  if (!result.IsError()) return absl::OkStatus();
  status = adapter.status().ok() ? ParserError(result, text) : adapter.status();
  return with_place(status, ErrorPosition(result, text, adapter.number_bytes()));
}

}  // namespace weightd
