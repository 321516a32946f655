#include "daemon/format/tensors_fields.h"

#include "absl/strings/str_cat.h"

namespace weightd {

absl::Status ReadTensorsKind(ByteReader& reader, TensorKind& kind) {
  const uint64_t offset = reader.offset();
  uint8_t value = 0;
  RETURN_IF_ERROR(reader.Read("tensor type", value));
  switch (value) {
    case 0:
      kind = TensorKind::kParameter;
      return absl::OkStatus();
    case 1:
      kind = TensorKind::kBuffer;
      return absl::OkStatus();
    case 2:
      kind = TensorKind::kStateDictEntry;
      return absl::OkStatus();
    default:
      return InvalidHeader(reader.path(), absl::StrCat("tensor type at ", offset, " is ", value,
                                                       ", wanted 0, 1 or 2"));
  }
}

absl::Status ReadTensorsName(ByteReader& reader, std::string& raw_name) {
  uint16_t bytes = 0;
  absl::string_view text;
  RETURN_IF_ERROR(reader.Read("name length", bytes));
  RETURN_IF_ERROR(reader.ReadText("name", bytes, text));
  raw_name = std::string(text);
  return absl::OkStatus();
}

absl::Status ReadTensorsDtype(ByteReader& reader, std::string& raw_dtype) {
  uint8_t bytes = 0;
  absl::string_view text;
  RETURN_IF_ERROR(reader.Read("dtype length", bytes));
  RETURN_IF_ERROR(reader.ReadText("dtype", bytes, text));
  raw_dtype = std::string(text);
  return absl::OkStatus();
}

absl::Status ReadTensorsShape(ByteReader& reader, const TensorsLimits& limits, Shape& shape) {
  const uint64_t offset = reader.offset();
  uint8_t rank = 0;
  RETURN_IF_ERROR(reader.Read("number of dimensions", rank));
  if (rank > limits.rank_max) {
    return HeaderBeyondLimit(
        reader.path(), absl::StrCat("a tensor at ", offset, " has ", rank, " dimensions, at most ",
                                    limits.rank_max, " are allowed"));
  }
  shape.clear();
  for (uint8_t i = 0; i < rank; ++i) {
    uint32_t dimension = 0;
    RETURN_IF_ERROR(reader.Read("dimension", dimension));
    shape.push_back(dimension);
  }
  return absl::OkStatus();
}

}  // namespace weightd
