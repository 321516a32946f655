#include "daemon/catalog/read_digests.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/catalog/directory_files.h"
#include "daemon/catalog/model_name.h"
#include "daemon/catalog/read_text.h"

namespace weightd {

std::string DigestsPathOf(const Checkpoint& checkpoint) {
  if (!checkpoint.directory.empty()) {
    return JoinPath(checkpoint.directory, std::string(kDirectoryDigests));
  }
  // In the root itself: the file's, or that of the index's model.
  const std::string stem = checkpoint.index_path.empty() && !checkpoint.shard_paths.empty()
                               ? WithoutWeightsSuffix(checkpoint.shard_paths.front())
                               : checkpoint.model;
  return absl::StrCat(stem, kFileDigestsSuffix);
}

absl::StatusOr<std::shared_ptr<const DigestManifest>> ReadDigests(const Checkpoint& checkpoint,
                                                                  const Manifest& manifest,
                                                                  const CatalogOptions& options) {
  const std::string path = DigestsPathOf(checkpoint);
  const auto file = checkpoint.volume->Open(path);
  if (absl::IsNotFound(file.status())) return nullptr;
  RETURN_IF_ERROR(file.status());
  const uint64_t bytes = (*file)->identity().size_bytes;
  if (bytes > kDigestManifestBytesMax) {
    return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
                           absl::StrCat("read ", path, ": it has ", bytes, " bytes, at most ",
                                        kDigestManifestBytesMax, " are allowed"));
  }
  ASSIGN_OR_RETURN(std::string text, ReadText(**file, 0, bytes));
  ASSIGN_OR_RETURN(DigestManifest digests,
                   ParseDigestManifest(std::move(text), path, options.tensors_max));
  RETURN_IF_ERROR(CheckDigestNames(digests, manifest));
  return std::make_shared<const DigestManifest>(std::move(digests));
}

}  // namespace weightd
