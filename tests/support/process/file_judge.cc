#include "tests/support/process/file_judge.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "client/cpp/cuda_mapping.h"

namespace weightd::testing {
namespace {

constexpr uint64_t kPartBytes = uint64_t{1} << 20;

// What is expected of one tensor, and the file that holds it.
struct Expected {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // in the file
  uint64_t bytes = 0;
};

// Row-major and dense; none for elements without a byte address, 0 where there is no element.
std::vector<int64_t> DenseStrides(const std::vector<int64_t>& shape, uint32_t element_bits) {
  if (element_bits < 8) return {};
  std::vector<int64_t> strides(shape.size(), 0);
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return strides;
  int64_t next = element_bits / 8;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = next;
    next *= shape[i];
  }
  return strides;
}

std::optional<std::string> WrongDescription(const client::Tensor& tensor, const Expected& wanted) {
  if (client::DTypeName(tensor.dtype) != wanted.dtype) return "dtype";
  const auto equal = [](auto span, const std::vector<int64_t>& list) {
    return std::equal(span.begin(), span.end(), list.begin(), list.end());
  };
  if (!equal(tensor.shape, wanted.shape)) return "shape";
  const uint32_t bits = client::DTypeBits(tensor.dtype);
  if (!equal(tensor.strides, DenseStrides(wanted.shape, bits))) return "strides";
  if (tensor.bytes != wanted.bytes) return "bytes";
  const uint64_t alignment = wanted.dtype == "C64" ? 4 : std::max<uint64_t>(bits / 8, 1);
  if (reinterpret_cast<uintptr_t>(tensor.data) % alignment != 0) return "alignment";
  return std::nullopt;
}

// Of the tensor's data, or of the GPU's copy of it.
std::optional<std::string> WrongByte(const client::Tensor& tensor, const Expected& wanted,
                                     std::ifstream& file) {
  std::vector<char> expected(std::min(wanted.bytes, kPartBytes));
  std::vector<char> copy(expected.size());
  file.seekg(static_cast<std::streamoff>(wanted.begin));
  for (uint64_t done = 0; done < wanted.bytes;) {
    const uint64_t part = std::min<uint64_t>(expected.size(), wanted.bytes - done);
    if (!file.read(expected.data(), static_cast<std::streamsize>(part))) return "file is too short";
    const char* actual = static_cast<const char*>(tensor.data) + done;
    if (tensor.device != "host") {
      const absl::Status copied =
          client::CopyFromGpu(std::string(tensor.device), actual, copy.data(), part);
      if (!copied.ok()) return copied.ToString();
      actual = copy.data();
    }
    if (std::memcmp(actual, expected.data(), part) != 0) {
      const auto [wrong, ignored] = std::mismatch(actual, actual + part, expected.begin());
      return absl::StrCat("byte ", done + static_cast<uint64_t>(wrong - actual));
    }
    done += part;
  }
  return std::nullopt;
}

std::vector<Expected> ReadHeader(std::ifstream& file) {
  uint64_t header_bytes = 0;
  file.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
  std::string text(header_bytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  const nlohmann::json header = nlohmann::json::parse(text);
  std::vector<Expected> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const uint64_t begin = entry["data_offsets"][0];
    const uint64_t end = entry["data_offsets"][1];
    tensors.push_back({.name = name,
                       .dtype = entry["dtype"],
                       .shape = entry["shape"].get<std::vector<int64_t>>(),
                       .begin = sizeof(header_bytes) + header_bytes + begin,
                       .bytes = end - begin});
  }
  return tensors;
}

}  // namespace

std::string CompareWithFiles(const client::Mapping& mapping,
                             const std::vector<std::string>& files) {
  size_t tensors = 0;
  uint64_t bytes = 0;
  for (const std::string& path : files) {
    std::ifstream file(path, std::ios::binary);
    for (const Expected& wanted : ReadHeader(file)) {
      const std::string where = absl::StrCat("different ", wanted.name, " of ", path, ": ");
      const client::Tensor* tensor = mapping.Find(wanted.name);
      if (tensor == nullptr) return where + "not there";
      if (const auto wrong = WrongDescription(*tensor, wanted)) return where + *wrong;
      if (const auto wrong = WrongByte(*tensor, wanted, file)) return where + *wrong;
      ++tensors;
      bytes += wanted.bytes;
    }
  }
  if (mapping.tensors().size() != tensors) {
    return absl::StrCat("different: ", mapping.tensors().size(), " tensors, wanted ", tensors);
  }
  if (mapping.total_bytes() != bytes) {
    return absl::StrCat("different: ", mapping.total_bytes(), " bytes, wanted ", bytes);
  }
  return absl::StrCat("same tensors=", tensors, " bytes=", bytes);
}

}  // namespace weightd::testing
