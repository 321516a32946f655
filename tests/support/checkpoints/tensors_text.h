#ifndef WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_TENSORS_TEXT_H_
#define WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_TENSORS_TEXT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// .tensors files as text, written by hand, field by field: not by the product's writer, so that a
// mistake in it does not hide one of the parser.

namespace weightd::testing {

inline absl::Span<const std::byte> AsBytes(absl::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// "01 02 ff" as bytes.
inline std::string Hex(absl::string_view hex) {
  std::string digits(hex);
  std::erase_if(digits, [](char c) { return c == ' ' || c == '\n'; });
  return absl::HexStringToBytes(digits);
}

template <typename Integer>
std::string Le(Integer value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    bytes.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xFF));
  }
  return bytes;
}

// One tensor, every field of which a test can spoil.
struct TensorText {
  std::string name = "w";
  uint8_t kind = 2;
  std::string dtype = "<f4";
  std::vector<uint32_t> shape = {2};
  std::string data = std::string(8, 'd');
  std::string hashes = Hex("29 00 02 00 04 00000000 01 20") + std::string(32, '\0');
  std::string crypt;  // with its length, of encrypted files
  std::string padding;

  std::string NameText() const { return Le(static_cast<uint16_t>(name.size())) + name; }
  std::string TypeText() const {
    std::string text = Le(static_cast<uint8_t>(dtype.size())) + dtype;
    text += Le(static_cast<uint8_t>(shape.size()));
    for (const uint32_t dimension : shape) text += Le(dimension);
    return text;
  }
  // With these lengths, or the true ones.
  std::string Header(uint64_t length = 0, int64_t data_length = -1) const {
    const std::string body =
        Le(uint16_t{0}) + Le(kind) + NameText() + TypeText() + hashes + crypt + padding;
    if (length == 0) length = 8 + body.size() + 8;
    if (data_length < 0) data_length = static_cast<int64_t>(data.size());
    return Le(length) + body + Le(data_length);
  }
  std::string IndexEntry(uint64_t header_offset, uint64_t data_offset, uint64_t data_bytes) const {
    return NameText() + Le(kind) + TypeText() + Le(header_offset) + Le(data_offset) +
           Le(data_bytes);
  }
};

// The 73 bytes at the start.
inline std::string FileHeaderText(uint32_t version, uint64_t count, uint64_t index_bytes,
                                  uint8_t flags = 0) {
  return "|TZR|" + Le(version) + Le(flags) + std::string(31, '\0') + Le(uint64_t{0}) +
         Le(uint64_t{0}) + Le(count) + Le(index_bytes);
}

// A whole file, its index as long as it must be.
inline std::string FileText(const std::vector<TensorText>& tensors, uint32_t version = 1) {
  uint64_t index_bytes = 0;
  for (const TensorText& tensor : tensors) index_bytes += tensor.IndexEntry(0, 0, 0).size();
  std::string index;
  std::string rest;
  for (const TensorText& tensor : tensors) {
    const uint64_t header_offset = 73 + index_bytes + rest.size();
    const std::string header = tensor.Header();
    index += tensor.IndexEntry(header_offset, header_offset + header.size(), tensor.data.size());
    rest += header + tensor.data;
  }
  return FileHeaderText(version, tensors.size(), index_bytes) + index + rest + Le(uint64_t{0});
}

// The same without an index, as a writer leaves a file that it did not count at its end.
inline std::string FileWithoutIndex(const std::vector<TensorText>& tensors, uint32_t version = 1) {
  std::string text = FileHeaderText(version, 0, 16) + std::string(16, '\0');
  for (const TensorText& tensor : tensors) text += tensor.Header() + tensor.data;
  return text + Le(uint64_t{0});
}

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_CHECKPOINTS_TENSORS_TEXT_H_
