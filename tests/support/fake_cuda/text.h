#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_TEXT_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_TEXT_H_

#include <charconv>
#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace fake_cuda {

// The parts of `text` between separators; none for an empty text.
inline std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return parts;
}

inline std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0x7f00" of an address or handle.
inline std::string Hex(uint64_t value) {
  std::ostringstream text;
  text << "0x" << std::hex << value;
  return text.str();
}
inline std::string Hex(const void* pointer) { return Hex(reinterpret_cast<uintptr_t>(pointer)); }

}  // namespace fake_cuda

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_TEXT_H_
