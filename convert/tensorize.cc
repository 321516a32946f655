#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "convert/convert.h"
#include "convert/output_file.h"
#include "daemon/format/tensor_hasher.h"
#include "daemon/format/tensors_writer.h"

namespace weightd {
namespace {

std::vector<TensorToWrite> TensorsOf(const Manifest& manifest) {
  std::vector<TensorToWrite> tensors;
  tensors.reserve(manifest.tensors.size());
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    TensorToWrite& tensor = tensors.emplace_back();
    tensor.name = manifest.tensors[i].name;
    tensor.dtype = manifest.tensors[i].dtype;
    tensor.shape = manifest.tensors[i].shape;
    if (manifest.stored.empty()) continue;
    tensor.torch_dtype = manifest.stored[i].torch_dtype;
    if (manifest.stored[i].kind != TensorKind::kUnknown) tensor.kind = manifest.stored[i].kind;
    tensor.module_index = manifest.stored[i].module_index;
  }
  return tensors;
}

// The header as the hashes cover it: both zero.
StoredHashes ToBeHashed(const TensorToWrite& tensor, const TensorPlace& place) {
  StoredHashes hashes;
  hashes.header = TensorHeaderText(tensor, place);
  hashes.header.resize(hashes.header.size() - sizeof(uint64_t));  // the hasher adds the length
  hashes.crc32 = 0;
  hashes.sha256 = Sha256{};
  return hashes;
}

}  // namespace

absl::StatusOr<ConvertResult> Tensorize(const std::string& from, const std::string& to,
                                        const ConvertOptions& options) {
  const auto step = [&options](const std::string& what, const std::string& path) {
    if (options.step) options.step(absl::StrCat(what, " ", path));
  };
  step("read", from);
  ASSIGN_OR_RETURN(const OpenedCheckpoint source, OpenSource(from));
  RETURN_IF_ERROR(RefuseEncrypted(source));
  const std::vector<TensorToWrite> tensors = TensorsOf(source.manifest);
  ASSIGN_OR_RETURN(const TensorsPlan plan, PlanTensorsFile(tensors, options.alignment));
  step("write", to);
  ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> out,
                   OutputFile::Create(to, plan.file_bytes(), options.replace));
  RETURN_IF_ERROR(out->WriteAt(0, plan.beginning));
  const ConvertResult result = {.tensors = tensors.size(),
                                .tensor_bytes = source.manifest.tensor_bytes(),
                                .file_bytes = plan.file_bytes()};
  step("copy " + from + " to", to);
  uint64_t done = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorPlace& place = plan.places[i];
    const StoredHashes zero = ToBeHashed(tensors[i], place);
    TensorHasher hasher(VerifyMode::kFull, &zero, place.data_bytes);
    uint64_t offset = place.data_offset();
    const auto use = [&](absl::Span<const std::byte> part) {
      hasher.Update(part);
      RETURN_IF_ERROR(out->WriteAt(offset, part));
      offset += part.size();
      done += part.size();
      if (options.progress) options.progress(done, result.tensor_bytes);
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(ForEachPart(source, i, use));
    StoredHashes hashes;
    hashes.crc32 = hasher.crc32();
    hashes.sha256 = hasher.sha256();
    RETURN_IF_ERROR(out->WriteAt(place.header_offset, TensorHeaderText(tensors[i], place, hashes)));
  }
  RETURN_IF_ERROR(out->WriteAt(plan.terminator_offset, std::string(sizeof(uint64_t), '\0')));
  step("read", from);
  RETURN_IF_ERROR(source.CheckUnchanged());
  step("write", to);
  RETURN_IF_ERROR(out->Commit());
  return result;
}

}  // namespace weightd
