// Attaches to a model, prints its tensors and sums one of them:
//   attach_example MODEL [TENSOR]

#include <weightd/client.h>

#include <cstdint>
#include <cstring>
#include <iostream>
#include <optional>
#include <utility>

namespace {

using weightd::client::DType;
using weightd::client::Tensor;

void Print(const Tensor& tensor) {
  std::cout << "  " << tensor.name << "  " << weightd::client::DTypeName(tensor.dtype) << " [";
  const char* separator = "";
  for (const std::int64_t dimension : tensor.shape) {
    std::cout << separator << dimension;
    separator = ", ";
  }
  std::cout << "]  " << tensor.bytes << " bytes\n";
}

// The elements' sum; none for GPU memory and for dtypes that this example does not know.
std::optional<double> Sum(const Tensor& tensor) {
  if (tensor.device != "host") return std::nullopt;
  double sum = 0;
  if (tensor.dtype == DType::kF32) {
    const auto* values = static_cast<const float*>(tensor.data);
    for (std::uint64_t i = 0; i < tensor.bytes / sizeof(float); ++i) sum += values[i];
    return sum;
  }
  if (tensor.dtype == DType::kBf16) {
    const auto* values = static_cast<const std::uint16_t*>(tensor.data);
    for (std::uint64_t i = 0; i < tensor.bytes / sizeof(std::uint16_t); ++i) {
      const std::uint32_t bits = std::uint32_t{values[i]} << 16;
      float value = 0;
      std::memcpy(&value, &bits, sizeof(value));
      sum += value;
    }
    return sum;
  }
  if (tensor.dtype == DType::kU8) {
    const auto* values = static_cast<const std::uint8_t*>(tensor.data);
    for (std::uint64_t i = 0; i < tensor.bytes; ++i) sum += values[i];
    return sum;
  }
  return std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: attach_example MODEL [TENSOR]\n";
    return 2;
  }
  auto attached = weightd::client::Attach(argv[1], {.client_name = "attach_example"});
  if (!attached.ok()) {
    std::cerr << attached.status() << '\n';
    return 1;
  }
  const weightd::client::Mapping mapping = *std::move(attached);
  std::cout << mapping.model() << " generation " << mapping.generation_id() << " on "
            << mapping.device() << ", " << mapping.tensors().size() << " tensors, "
            << mapping.total_bytes() << " bytes\n";
  for (const Tensor& tensor : mapping.tensors()) Print(tensor);

  const Tensor* chosen = argc > 2 ? mapping.Find(argv[2]) : mapping.tensors().data();
  if (chosen == nullptr) {
    std::cerr << "no such tensor\n";
    return 1;
  }
  const std::optional<double> sum = Sum(*chosen);
  if (!sum.has_value()) {
    std::cout << chosen->name << " is not summed here\n";
    return 0;
  }
  std::cout << "sum of " << chosen->name << ": " << *sum << '\n';
  return 0;
}
