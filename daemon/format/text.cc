#include "daemon/format/text.h"

#include <cstdint>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/printable_text.h"

namespace weightd {
namespace {

constexpr size_t kQuotedBytesMax = 128;
constexpr uint64_t kHighBits = 0x8080808080808080;
constexpr uint64_t kSpaces = 0x2020202020202020;

}  // namespace

size_t FindControlCharacter(absl::string_view text) {
  const auto is_control = [](char c) {
    return static_cast<uint8_t>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r';
  };
  size_t i = 0;
  for (; text.size() - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, sizeof(word));
    if (((word - kSpaces) & ~word & kHighBits) == 0) continue;  // no byte is below a space
    for (size_t j = i; j < i + sizeof(word); ++j) {
      if (is_control(text[j])) return j;
    }
  }
  for (; i < text.size(); ++i) {
    if (is_control(text[i])) return i;
  }
  return absl::string_view::npos;
}

std::string Quoted(absl::string_view text) {
  absl::string_view shown = text.substr(0, kQuotedBytesMax);
  if (shown.size() < text.size()) {
    // Cut between characters: the start of a cut one would not be UTF-8.
    const size_t cut = FindInvalidUtf8(shown);
    if (cut != absl::string_view::npos && shown.size() - cut < 4) shown = shown.substr(0, cut);
  }
  const bool is_utf8 = FindInvalidUtf8(shown) == absl::string_view::npos;
  return absl::StrCat("\"", is_utf8 ? absl::Utf8SafeCHexEscape(shown) : absl::CHexEscape(shown),
                      "\"", shown.size() < text.size() ? "..." : "");
}

std::string JsonString(absl::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json.push_back('\\');
    if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&json, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      json.push_back(c);
    }
  }
  return json + "\"";
}

}  // namespace weightd
