#ifndef WEIGHTD_DAEMON_FORMAT_TENSORS_FIELDS_H_
#define WEIGHTD_DAEMON_FORMAT_TENSORS_FIELDS_H_

#include <string>

#include "absl/status/status.h"
#include "daemon/format/byte_reader.h"
#include "daemon/format/manifest.h"
#include "daemon/format/tensors_file.h"

// Fields that index entries and tensor headers of a .tensors file have in common. Thread-safe: pure
// functions.

namespace weightd {

// u8: 0 parameter, 1 buffer, 2 entry of a state dict.
absl::Status ReadTensorsKind(ByteReader& reader, TensorKind& kind);
// u16 length, bytes.
absl::Status ReadTensorsName(ByteReader& reader, std::string& raw_name);
// u8 length, bytes.
absl::Status ReadTensorsDtype(ByteReader& reader, std::string& raw_dtype);
// u8 rank, u32 per dimension.
absl::Status ReadTensorsShape(ByteReader& reader, const TensorsLimits& limits, Shape& shape);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TENSORS_FIELDS_H_
