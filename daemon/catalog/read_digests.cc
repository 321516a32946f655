#include "daemon/catalog/read_digests.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
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
  ASSIGN_OR_RETURN(std::optional<std::string> text,
                   ReadTextFile(*checkpoint.volume, path, kDigestManifestBytesMax));
  if (!text.has_value()) return nullptr;
  ASSIGN_OR_RETURN(DigestManifest digests,
                   ParseDigestManifest(*std::move(text), path, options.tensors_max));
  RETURN_IF_ERROR(CheckDigestNames(digests, manifest));
  return std::make_shared<const DigestManifest>(std::move(digests));
}

}  // namespace weightd
