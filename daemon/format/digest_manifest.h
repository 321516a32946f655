#ifndef WEIGHTD_DAEMON_FORMAT_DIGEST_MANIFEST_H_
#define WEIGHTD_DAEMON_FORMAT_DIGEST_MANIFEST_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/format/manifest.h"
#include "daemon/format/tensor_hasher.h"

// A digest manifest says what the tensors of a checkpoint must be. It lies beside the checkpoint,
//
//   d/weightd.digests.json   of the directory d
//   x.digests.json           of the file x.safetensors or x.tensors
//
// and is written by `weightctl digest`:
//
//   {"version":1,"xxh3_128":{"<tensor>":"<32 hexadecimal digits>",...}}
//
// Thread-safe: pure functions.

namespace weightd {

inline constexpr absl::string_view kDirectoryDigests = "weightd.digests.json";
inline constexpr absl::string_view kFileDigestsSuffix = ".digests.json";
inline constexpr uint64_t kDigestManifestBytesMax = uint64_t{256} << 20;

struct DigestManifest {
  std::string path;  // for messages
  absl::flat_hash_map<std::string, TensorDigest> digests;
};

// DATA_LOSS/CHECKPOINT_INVALID for text that is not as above; `tensors_max` is a limit.
absl::StatusOr<DigestManifest> ParseDigestManifest(std::string text, absl::string_view path,
                                                   uint64_t tensors_max);

// `digests` are like the manifest's tensors.
std::string DigestManifestText(const Manifest& manifest, const std::vector<TensorDigest>& digests);

// OK when both have the same tensors; DATA_LOSS/INTEGRITY_FAILED with the first that is in one
// alone.
absl::Status CheckDigestNames(const DigestManifest& wanted, const Manifest& manifest);
// Of those: OK when their digests are the same; likewise with the first that differs.
absl::Status CheckDigests(const DigestManifest& wanted, const Manifest& manifest,
                          const std::vector<TensorDigest>& digests);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_FORMAT_DIGEST_MANIFEST_H_
