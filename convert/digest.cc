#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "convert/convert.h"
#include "convert/output_file.h"
#include "daemon/catalog/read_digests.h"
#include "daemon/format/digest_manifest.h"
#include "daemon/format/text.h"

namespace weightd {

namespace {

std::string DefaultPath(const OpenedCheckpoint& source) {
  return absl::StrCat(source.checkpoint.volume->root(), "/", DigestsPathOf(source.checkpoint));
}

}  // namespace

absl::StatusOr<DigestResult> WriteDigests(const std::string& from, const std::string& to,
                                          const ConvertOptions& options) {
  const auto step = [&options](const char* what, const std::string& path) {
    if (options.step) options.step(absl::StrCat(what, " ", path));
  };
  step("read", from);
  ASSIGN_OR_RETURN(const OpenedCheckpoint source, OpenSource(from));
  const Manifest& manifest = source.manifest;
  RETURN_IF_ERROR(RefuseEncrypted(source));
  const uint64_t total = manifest.tensor_bytes();
  std::vector<TensorDigest> digests;
  uint64_t done = 0;
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest.tensors[i];
    // The hashes that a .tensors file has do not cover the zeros of a meta tensor.
    const bool has_stored = !manifest.stored.empty() && !tensor.is_meta;
    TensorHasher hasher(VerifyMode::kFull, has_stored ? &manifest.stored[i].hashes : nullptr,
                        tensor.file_bytes());
    const auto use = [&](absl::Span<const std::byte> part) {
      hasher.Update(part);
      done += part.size();
      if (options.progress) options.progress(done, total);
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(ForEachPart(source, i, use));
    RETURN_IF_ERROR(
        Annotate(hasher.Check(), absl::StrCat("read ", from, ": tensor ", Quoted(tensor.name))));
    digests.push_back(hasher.digest());
  }
  RETURN_IF_ERROR(source.CheckUnchanged());
  const std::string text = DigestManifestText(manifest, digests);
  const DigestResult result = {.path = to.empty() ? DefaultPath(source) : to,
                               .tensors = digests.size(),
                               .tensor_bytes = total};
  step("write", result.path);
  ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> out,
                   OutputFile::Create(result.path, text.size(), options.replace));
  RETURN_IF_ERROR(out->WriteAt(0, text));
  RETURN_IF_ERROR(out->Commit());
  return result;
}

}  // namespace weightd
