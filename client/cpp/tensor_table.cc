#include "client/cpp/tensor_table.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/dtype.h"
#include "common/status_macros.h"

namespace weightd::client {
namespace {

// Room made before the tensors are there; a grant that promises more grows as they arrive.
constexpr uint64_t kReserveTensorsMax = 1 << 17;

std::vector<uint64_t> AllocationBytes(const v1::Granted& granted) {
  std::vector<uint64_t> bytes;
  bytes.reserve(static_cast<size_t>(granted.allocations_size()));
  for (const v1::Allocation& allocation : granted.allocations())
    bytes.push_back(allocation.bytes());
  return bytes;
}

absl::Status Malformed(absl::string_view tensor, absl::string_view problem) {
  return absl::InternalError(
      absl::StrCat("grant from weightd: tensor ", absl::CHexEscape(tensor), ": ", problem));
}

// Whether [offset, offset + bytes) lies inside an allocation.
bool Fits(uint64_t offset, uint64_t bytes, uint64_t allocation_bytes) {
  return offset <= allocation_bytes && bytes <= allocation_bytes - offset;
}

// Appends the strides of a dense row-major tensor. `bytes` is the size that `shape` gives, so no
// stride overflows: each one divides it.
void AppendStrides(absl::Span<const int64_t> shape, uint64_t bytes, std::vector<int64_t>& strides) {
  int64_t stride = static_cast<int64_t>(bytes);
  for (const int64_t dimension : shape) {
    if (dimension != 0) stride /= dimension;
    strides.push_back(stride);
  }
}

}  // namespace

TensorTable::TensorTable(const v1::Granted& granted)
    : device_(granted.device()),
      allocation_bytes_(AllocationBytes(granted)),
      tensor_count_(granted.tensor_count()),
      tensor_bytes_(granted.tensor_bytes()) {
  const size_t expected = std::min(tensor_count_, kReserveTensorsMax);
  tensors_.reserve(expected);
  places_.reserve(expected);
  index_by_name_.reserve(expected);
}

absl::Status TensorTable::Add(const v1::TensorBatch& batch) {
  const uint64_t count = tensors_.size() + static_cast<uint64_t>(batch.tensors_size());
  if (count > tensor_count_) {
    return absl::InternalError(absl::StrCat("grant from weightd: ", count,
                                            " tensors came, announced were ", tensor_count_));
  }
  size_t name_bytes = 0;
  size_t dimensions = 0;
  for (const v1::Tensor& message : batch.tensors()) {
    name_bytes += message.name().size() + message.torch_dtype().size() + message.xxh3_128().size();
    dimensions += static_cast<size_t>(message.shape_size());
  }
  Chunk& chunk = *chunks_.emplace_back(std::make_unique<Chunk>());
  // Tensors point into these: from here on they grow within what is reserved, and do not move.
  chunk.names.reserve(name_bytes);
  chunk.shapes.reserve(dimensions);
  chunk.strides.reserve(dimensions);
  for (const v1::Tensor& message : batch.tensors()) RETURN_IF_ERROR(AddOne(message, chunk));
  return absl::OkStatus();
}

absl::Status TensorTable::AddOne(const v1::Tensor& message, Chunk& chunk) {
  const absl::string_view name = message.name();
  const std::optional<Dtype> dtype = DtypeFromValue(message.dtype());
  if (!dtype.has_value()) {
    return Malformed(name, absl::StrCat("dtype ", static_cast<int>(message.dtype()),
                                        " is unknown to this client"));
  }
  const std::optional<uint64_t> bytes = TensorBytes(*dtype, message.shape());
  if (!bytes.has_value() || *bytes != message.bytes() ||
      *bytes > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return Malformed(name, absl::StrCat(message.bytes(), " bytes do not fit its shape and dtype"));
  }
  if (message.allocation_index() >= allocation_bytes_.size()) {
    return Malformed(name, absl::StrCat("allocation ", message.allocation_index(), " of ",
                                        allocation_bytes_.size()));
  }
  const uint64_t room = allocation_bytes_[message.allocation_index()];
  if (!Fits(message.offset(), *bytes, room)) {
    return Malformed(name, absl::StrCat(*bytes, " bytes at ", message.offset(),
                                        " end past its allocation of ", room));
  }
  if (message.offset() % DtypeAlignment(*dtype) != 0) {
    return Malformed(name,
                     absl::StrCat("offset ", message.offset(), " is not aligned for its dtype"));
  }
  Tensor& tensor = tensors_.emplace_back();
  const size_t name_start = chunk.names.size();
  const size_t shape_start = chunk.shapes.size();
  const size_t strides_start = chunk.strides.size();
  chunk.names.append(message.name());
  for (const uint64_t dimension : message.shape()) {
    if (dimension > uint64_t{std::numeric_limits<int64_t>::max()}) {
      return Malformed(name, absl::StrCat("dimension ", dimension, " is too large"));
    }
    chunk.shapes.push_back(static_cast<int64_t>(dimension));
  }
  tensor.shape = std::span(chunk.shapes).subspan(shape_start);
  if (DtypeBits(*dtype) % 8 == 0) AppendStrides(tensor.shape, *bytes, chunk.strides);
  tensor.strides = std::span(chunk.strides).subspan(strides_start);
  tensor.name = std::string_view(chunk.names).substr(name_start);
  const auto append = [&](const std::string& text) {
    const size_t start = chunk.names.size();
    chunk.names.append(text);
    return std::string_view(chunk.names).substr(start);
  };
  tensor.torch_dtype = append(message.torch_dtype());
  tensor.xxh3_128 = append(message.xxh3_128());
  tensor.dtype = static_cast<DType>(*dtype);
  tensor.bytes = *bytes;
  tensor.device = device_;
  places_.push_back({message.allocation_index(), message.offset()});
  const absl::string_view key(tensor.name.data(), tensor.name.size());
  if (!index_by_name_.try_emplace(key, tensors_.size() - 1).second) {
    return Malformed(name, "came twice");
  }
  if (__builtin_add_overflow(bytes_, *bytes, &bytes_)) return Malformed(name, "bytes overflow");
  return absl::OkStatus();
}

absl::Status TensorTable::CheckComplete() const {
  if (tensors_.size() == tensor_count_ && bytes_ == tensor_bytes_) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("grant from weightd: ", tensors_.size(), " tensors of ",
                                          bytes_, " bytes came, announced were ", tensor_count_,
                                          " of ", tensor_bytes_));
}

void TensorTable::SetBases(absl::Span<const std::byte* const> bases) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].bytes == 0) continue;
    tensors_[i].data = bases[places_[i].allocation_index] + places_[i].offset;
  }
}

const Tensor* TensorTable::Find(absl::string_view name) const {
  const auto found = index_by_name_.find(name);
  return found == index_by_name_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace weightd::client
