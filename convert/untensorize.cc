#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "convert/convert.h"
#include "convert/output_file.h"
#include "daemon/format/little_endian.h"
#include "daemon/format/safetensors.h"
#include "daemon/format/tensor_hasher.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr uint64_t kHeaderAlignment = 8;

// As the reference writer orders data: dtypes with the largest elements first, then by name.
std::vector<size_t> DataOrder(const Manifest& manifest) {
  std::vector<size_t> order(manifest.tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const TensorEntry& left = manifest.tensors[a];
    const TensorEntry& right = manifest.tensors[b];
    return left.dtype != right.dtype ? left.dtype > right.dtype : left.name < right.name;
  });
  return order;
}

absl::Status CheckDtypes(const Manifest& manifest) {
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest.tensors[i];
    if (IsSafetensorsDtype(tensor.dtype)) continue;
    const bool is_named = !manifest.stored.empty() && !manifest.stored[i].torch_dtype.empty();
    return ErrorWithReason(
        absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
        absl::StrCat("tensor ", Quoted(tensor.name), " is of dtype ",
                     is_named ? manifest.stored[i].torch_dtype : DtypeName(tensor.dtype),
                     ", which safetensors files do not have"));
  }
  return absl::OkStatus();
}

// The header's length and the header.
std::string HeaderText(const Manifest& manifest, const std::vector<size_t>& order) {
  const std::map<std::string, std::string> metadata =
      manifest.metadata.empty() ? std::map<std::string, std::string>{{"format", "pt"}}
                                : manifest.metadata;
  std::string header = absl::StrCat("{\"__metadata__\":", nlohmann::json(metadata).dump());
  uint64_t offset = 0;
  for (const size_t index : order) {
    const TensorEntry& tensor = manifest.tensors[index];
    absl::StrAppend(&header, ",", nlohmann::json(tensor.name).dump(), ":{\"dtype\":\"",
                    DtypeName(tensor.dtype), "\",\"shape\":[", absl::StrJoin(tensor.shape, ","),
                    "],\"data_offsets\":[", offset, ",", offset + tensor.bytes, "]}");
    offset += tensor.bytes;
  }
  header += "}";
  header.resize(AlignUp(header.size(), kHeaderAlignment), ' ');
  std::string prefix;
  AppendLittleEndian(uint64_t{header.size()}, prefix);
  return prefix + header;
}

}  // namespace

absl::StatusOr<ConvertResult> Untensorize(const std::string& from, const std::string& to,
                                          const ConvertOptions& options) {
  const auto step = [&options](const std::string& what, const std::string& path) {
    if (options.step) options.step(absl::StrCat(what, " ", path));
  };
  step("read", from);
  ASSIGN_OR_RETURN(const OpenedCheckpoint source, OpenSource(from));
  const Manifest& manifest = source.manifest;
  RETURN_IF_ERROR(RefuseEncrypted(source));
  RETURN_IF_ERROR(CheckDtypes(manifest));
  const std::vector<size_t> order = DataOrder(manifest);
  const std::string header = HeaderText(manifest, order);
  if (header.size() > kSafetensorsHeaderBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("its header would have ", header.size(),
                                                   " bytes, safetensors files have at most ",
                                                   kSafetensorsHeaderBytesMax));
  }
  const ConvertResult result = {.tensors = manifest.tensors.size(),
                                .tensor_bytes = manifest.tensor_bytes(),
                                .file_bytes = header.size() + manifest.tensor_bytes()};
  step("write", to);
  ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> out,
                   OutputFile::Create(to, result.file_bytes, options.replace));
  RETURN_IF_ERROR(out->WriteAt(0, header));
  step("copy " + from + " to", to);
  uint64_t done = 0;
  for (const size_t index : order) {
    const TensorEntry& tensor = manifest.tensors[index];
    const StoredHashes* stored = manifest.stored.empty() ? nullptr : &manifest.stored[index].hashes;
    TensorHasher hasher(VerifyMode::kFull, stored, tensor.file_bytes());
    const auto use = [&](absl::Span<const std::byte> part) {
      if (!tensor.is_meta) hasher.Update(part);
      RETURN_IF_ERROR(out->WriteAt(header.size() + done, part));
      done += part.size();
      if (options.progress) options.progress(done, result.tensor_bytes);
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(ForEachPart(source, index, use));
    RETURN_IF_ERROR(
        Annotate(hasher.Check(), absl::StrCat("read ", from, ": tensor ", Quoted(tensor.name))));
  }
  step("read", from);
  RETURN_IF_ERROR(source.CheckUnchanged());
  step("write", to);
  RETURN_IF_ERROR(out->Commit());
  return result;
}

}  // namespace weightd
