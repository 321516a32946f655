#include "common/printable_text.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "absl/strings/str_format.h"

namespace weightd {
namespace {

constexpr uint64_t kHighBits = 0x8080808080808080;

struct CodePoints {
  uint32_t first;
  uint32_t last;
};

// Above ASCII, those that leave no mark of their own and change how others are shown: C1 controls,
// the separators of lines and paragraphs, and the format characters (general category Cf) of
// Unicode 15.
constexpr CodePoints kHidden[] = {
    {0x80, 0x9F},       {0xAD, 0xAD},       {0x600, 0x605},     {0x61C, 0x61C},
    {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},     {0x8E2, 0x8E2},
    {0x180E, 0x180E},   {0x200B, 0x200F},   {0x2028, 0x202E},   {0x2060, 0x206F},
    {0xFEFF, 0xFEFF},   {0xFFF9, 0xFFFB},   {0x110BD, 0x110BD}, {0x110CD, 0x110CD},
    {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF},
};

bool IsContinuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// Of the well-formed character that is all of `text`.
uint32_t CodePointOf(absl::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (text.size() == 1) return lead;
  uint32_t point = lead & (0x7Fu >> text.size());
  for (const char c : text.substr(1)) point = point << 6 | (static_cast<uint8_t>(c) & 0x3Fu);
  return point;
}

bool IsHidden(uint32_t point) {
  return std::any_of(std::begin(kHidden), std::end(kHidden), [point](const CodePoints& range) {
    return point >= range.first && point <= range.last;
  });
}

bool IsControl(uint8_t byte) { return byte < 0x20 || byte == 0x7F; }

}  // namespace

size_t Utf8CharacterBytes(absl::string_view text) {
  if (text.empty()) return 0;
  const auto at = [&](size_t i) {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0};
  };
  const uint8_t lead = at(0);
  const uint8_t second = at(1);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4 || !IsContinuation(second)) return 0;
  if (lead < 0xE0) return 2;
  if (!IsContinuation(at(2))) return 0;
  if (lead < 0xF0) {
    const bool overlong = lead == 0xE0 && second < 0xA0;
    const bool surrogate = lead == 0xED && second > 0x9F;
    return overlong || surrogate ? 0 : 3;
  }
  if (!IsContinuation(at(3))) return 0;
  const bool overlong = lead == 0xF0 && second < 0x90;
  const bool too_high = lead == 0xF4 && second > 0x8F;
  return overlong || too_high ? 0 : 4;
}

size_t FindInvalidUtf8(absl::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    // Headers are ASCII but for a rare name: eight bytes at a time.
    if (text.size() - i >= sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, text.data() + i, sizeof(word));
      if ((word & kHighBits) == 0) {
        i += sizeof(word);
        continue;
      }
    }
    const size_t bytes = Utf8CharacterBytes(text.substr(i));
    if (bytes == 0) return i;
    i += bytes;
  }
  return absl::string_view::npos;
}

std::string PrintableText(absl::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  while (!text.empty()) {
    const auto byte = static_cast<uint8_t>(text[0]);
    const size_t bytes = Utf8CharacterBytes(text);
    if (bytes == 0 || IsControl(byte)) {
      absl::StrAppendFormat(&safe, "\\x%02x", byte);
      text.remove_prefix(1);
      continue;
    }
    const absl::string_view character = text.substr(0, bytes);
    const uint32_t point = CodePointOf(character);
    if (bytes > 1 && IsHidden(point)) {
      absl::StrAppendFormat(&safe, "\\u{%x}", point);
    } else {
      safe.append(character.data(), character.size());
    }
    text.remove_prefix(bytes);
  }
  return safe;
}

}  // namespace weightd
