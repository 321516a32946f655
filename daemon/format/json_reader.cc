#include "daemon/format/json_reader.h"

#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

using nlohmann::json;

constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr size_t kReasonBytesMax = 160;

// Reads characters and leaves its position where the handler can see it: the parser itself tells
// it only for errors of its own.
class TrackedIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackedIterator(const char* position, const char** shared)
      : position_(position), shared_(shared) {}
  reference operator*() const { return *position_; }
  TrackedIterator& operator++() {
    *shared_ = ++position_;
    return *this;
  }
  TrackedIterator operator++(int) {
    TrackedIterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const TrackedIterator& a, const TrackedIterator& b) {
    return a.position_ == b.position_;
  }
  friend bool operator!=(const TrackedIterator& a, const TrackedIterator& b) { return !(a == b); }

 private:
  const char* position_;
  const char** shared_;
};

// The parser's own message without its prefix and in ASCII: it quotes the text raw, whole strings
// of it.
std::string ParserReason(absl::string_view message) {
  const size_t column = message.find(": ");
  if (column != absl::string_view::npos) message.remove_prefix(column + 2);
  std::string reason(message.substr(0, kReasonBytesMax));
  for (char& c : reason) {
    if (c < 0x20 || c > 0x7E) c = '?';
  }
  return message.size() > kReasonBytesMax ? reason + "..." : reason;
}

// Passes nlohmann's SAX events on, counts levels and keeps the first error.
class SaxAdapter {
 public:
  explicit SaxAdapter(JsonHandler& handler) : handler_(handler) {}

  const absl::Status& status() const { return status_; }

  // The names and signatures are those of nlohmann::json_sax.
  bool null() { return Pass(handler_.Scalar({.kind = JsonScalar::Kind::kNull})); }
  bool boolean(bool) { return Pass(handler_.Scalar({.kind = JsonScalar::Kind::kBoolean})); }
  bool number_unsigned(uint64_t number) {
    return Pass(handler_.Scalar({.kind = JsonScalar::Kind::kUnsigned, .number = number}));
  }
  bool number_integer(int64_t number) {  // called for literals with a minus sign only, so also -0
    const std::string text = number == 0 ? "-0" : absl::StrCat(number);
    return Pass(handler_.Scalar({.kind = JsonScalar::Kind::kNumber, .text = text}));
  }
  bool number_float(double, const std::string& text) {
    return Pass(handler_.Scalar({.kind = JsonScalar::Kind::kNumber, .text = text}));
  }
  bool string(const std::string& text) {
    return Pass(handler_.Scalar({.kind = JsonScalar::Kind::kString, .text = text}));
  }
  bool binary(const json::binary_t&) { return Pass(JsonError("binary value")); }
  bool start_object(size_t) { return Enter() && Pass(handler_.StartObject()); }
  bool key(const std::string& text) { return Pass(handler_.Key(text)); }
  bool end_object() { return Leave() && Pass(handler_.EndObject()); }
  bool start_array(size_t) { return Enter() && Pass(handler_.StartArray()); }
  bool end_array() { return Leave() && Pass(handler_.EndArray()); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
    return Pass(JsonError(absl::StrCat("not valid JSON: ", ParserReason(error.what()))));
  }

 private:
  bool Pass(absl::Status status) {
    if (status.ok()) return true;
    status_ = std::move(status);
    return false;
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
  uint32_t depth_ = 0;
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
  *position = text.find('\0');
  if (*position != absl::string_view::npos) {
    return JsonError("not valid JSON: NUL byte, only white space may pad the text");
  }
  return absl::OkStatus();
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

absl::Status ReadJson(const JsonSource& source, JsonHandler& handler) {
  const auto with_place = [&](const absl::Status& status, size_t position) {
    return Annotate(status,
                    absl::StrCat("read ", source.what, " at ", source.file_offset + position));
  };
  size_t position = 0;
  absl::Status status = CheckBytes(source.text, &position);
  if (!status.ok()) return with_place(status, position);

  const char* begin = source.text.data();
  const char* current = begin;
  SaxAdapter adapter(handler);
  const bool complete =
      json::sax_parse(TrackedIterator(begin, &current),
                      TrackedIterator(begin + source.text.size(), &current), &adapter);
  if (complete) return absl::OkStatus();
  return with_place(adapter.status(), static_cast<size_t>(current - begin));
}

}  // namespace weightd
