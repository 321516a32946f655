#include "daemon/format/tensors_fields.h"

#include "absl/strings/str_cat.h"

namespace weightd {
namespace {

// A length, and so many bytes.
template <typename Length>
absl::Status ReadSized(ByteReader& reader, absl::string_view length_field, absl::string_view field,
                       std::string& value) {
  Length bytes = 0;
  absl::string_view text;
  RETURN_IF_ERROR(reader.Read(length_field, bytes));
  RETURN_IF_ERROR(reader.ReadText(field, bytes, text));
  value = std::string(text);
  return absl::OkStatus();
}

}  // namespace

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
  return ReadSized<uint16_t>(reader, "name length", "name", raw_name);
}

absl::Status ReadTensorsDtype(ByteReader& reader, std::string& raw_dtype) {
  return ReadSized<uint8_t>(reader, "dtype length", "dtype", raw_dtype);
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
