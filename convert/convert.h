#ifndef WEIGHTD_CONVERT_CONVERT_H_
#define WEIGHTD_CONVERT_CONVERT_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "convert/source.h"

// Weight files from one format to the other, in bounded memory: a few megabytes beside what the
// headers take. What they make appears whole or not at all (output_file.h). All that asks a volume
// is a volume call (common/volume_call.h). Thread-compatible.

namespace weightd {

struct ConvertOptions {
  bool replace = false;  // an existing file
  // Of data in a .tensors file, a power of two up to 4096; 256 lets weightd stage it as one run.
  uint64_t alignment = 256;
  ConvertProgress progress = {};
  // Told what is done next, like "read /models/a", before a volume is asked that may never answer.
  std::function<void(const std::string& step)> step = {};
};

struct ConvertResult {
  uint64_t tensors = 0;
  uint64_t tensor_bytes = 0;
  uint64_t file_bytes = 0;
};

// A checkpoint, of one file or several, becomes the .tensors file `to`, with CRC32 and SHA-256 of
// every tensor. Tensors keep their order; `__metadata__` has no place in the format and is left
// out. INVALID_ARGUMENT for a dtype that the format lacks (the bit-packed ones).
absl::StatusOr<ConvertResult> Tensorize(const std::string& from, const std::string& to,
                                        const ConvertOptions& options = {});

// The way back: the safetensors file that the reference writer makes of these tensors, with
// {"format":"pt"} as metadata. The hashes that .tensors files have are compared on the way:
// DATA_LOSS/INTEGRITY_FAILED. INVALID_ARGUMENT for a dtype that safetensors lacks (complex ones but
// C64, and opaque ones). Meta tensors become zeros.
absl::StatusOr<ConvertResult> Untensorize(const std::string& from, const std::string& to,
                                          const ConvertOptions& options = {});

struct DigestResult {
  std::string path;  // of the digest manifest
  uint64_t tensors = 0;
  uint64_t tensor_bytes = 0;
};

// Writes the digest manifest of a checkpoint (daemon/format/digest_manifest.h): to `to`, or where
// weightd looks for it, beside the checkpoint, where that is empty. The hashes that .tensors files
// have are compared on the way.
absl::StatusOr<DigestResult> WriteDigests(const std::string& from, const std::string& to,
                                          const ConvertOptions& options = {});

}  // namespace weightd

#endif  // WEIGHTD_CONVERT_CONVERT_H_
