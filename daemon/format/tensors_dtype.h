#ifndef WEIGHTD_DAEMON_FORMAT_TENSORS_DTYPE_H_
#define WEIGHTD_DAEMON_FORMAT_TENSORS_DTYPE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/dtype.h"

// Dtype strings of .tensors files (shared/formats.md 1.6.2): a numpy type string, or an opaque one,
//
//   "<f4"     "|u1"     "<V2" NUL "torch.bfloat16"     "|V1" NUL "torch.uint4"
//
// Thread-safe: pure functions.

namespace weightd {

struct TensorsDtype {
  Dtype dtype = Dtype::kU8;
  std::string torch_name;  // "torch.uint4", of kOpaque8 to kOpaque64 only
};

// INVALID_ARGUMENT with what is wrong: an unknown kind or size, big-endian bytes, an opaque type
// without its torch name or of another size than that has, a second NUL.
absl::StatusOr<TensorsDtype> ParseTensorsDtype(absl::string_view text);

// What the reference writer writes. INVALID_ARGUMENT for a dtype that the format does not have: the
// bit-packed ones below 8 bits, and an opaque one without a name.
absl::StatusOr<std::string> FormatTensorsDtype(Dtype dtype, absl::string_view torch_name = "");

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_TENSORS_DTYPE_H_
