#include "daemon/catalog/read_headers.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/catalog/directory_files.h"
#include "daemon/catalog/open_shards.h"
#include "daemon/catalog/parallel.h"
#include "daemon/catalog/read_text.h"
#include "daemon/format/tensors_shard.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

absl::StatusOr<ShardHeader> ReadSafetensors(const File& file, const CatalogOptions& options) {
  const SafetensorsLimits limits = {.tensors_max = options.tensors_max};
  const uint64_t file_bytes = file.identity().size_bytes;
  std::array<std::byte, kSafetensorsPrefixBytes> buffer;
  const auto prefix = absl::MakeSpan(buffer).first(std::min<uint64_t>(file_bytes, buffer.size()));
  RETURN_IF_ERROR(file.ReadAt(0, prefix));
  ASSIGN_OR_RETURN(const uint64_t header_bytes,
                   ParseSafetensorsPrefix(prefix, file_bytes, file.path(), limits));
  ASSIGN_OR_RETURN(std::string header, ReadText(file, kSafetensorsPrefixBytes, header_bytes));
  return ParseSafetensorsHeader(std::move(header), file_bytes, file.path(), limits);
}

// A header stands before each tensor: those of one file are read by `threads`.
absl::StatusOr<ShardHeader> ReadTensors(const File& file, const CatalogOptions& options,
                                        uint32_t threads) {
  return ReadTensorsShard(
      [&](uint64_t offset, absl::Span<std::byte> to) { return file.ReadAt(offset, to); },
      [&](size_t count, absl::FunctionRef<absl::Status(size_t)> work) {
        return ParallelForEach(threads, count, work);
      },
      file.identity().size_bytes, file.path(), {.tensors_max = options.tensors_max});
}

absl::Status Invalid(absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kDataLoss, Reason::kCheckpointInvalid, message);
}

absl::Status TooManyTensors(const Checkpoint& checkpoint, uint64_t count, uint64_t max) {
  return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
                         absl::StrCat("open ", checkpoint.model, ": ", count, " tensors, at most ",
                                      max, " are allowed"));
}

using ShardOfTensor = absl::flat_hash_map<absl::string_view, uint32_t>;

absl::Status CheckIndex(const Checkpoint& checkpoint, const Manifest& manifest,
                        const ShardOfTensor& shard_of, const SafetensorsIndex& index) {
  for (const SafetensorsIndex::Entry& entry : index.entries) {
    const auto found = shard_of.find(entry.tensor);
    if (found != shard_of.end() && found->second == entry.shard_index) continue;
    const std::string where = found == shard_of.end()
                                  ? "no shard has it"
                                  : absl::StrCat("it is in ", manifest.shards[found->second].path);
    return Invalid(absl::StrCat("open ", checkpoint.index_path, ": tensor ", Quoted(entry.tensor),
                                " is not in ", manifest.shards[entry.shard_index].path,
                                " as the index says, ", where));
  }
  return absl::OkStatus();
}

absl::Status CheckTensors(const Checkpoint& checkpoint, const Manifest& manifest,
                          const SafetensorsIndex* index) {
  ShardOfTensor shard_of;
  shard_of.reserve(manifest.tensors.size());
  for (const TensorEntry& tensor : manifest.tensors) {
    const auto [known, is_new] = shard_of.emplace(tensor.name, tensor.shard_index);
    if (is_new) continue;
    return Invalid(absl::StrCat("open ", checkpoint.model, ": tensor ", Quoted(tensor.name),
                                " is in ", manifest.shards[known->second].path, " and in ",
                                manifest.shards[tensor.shard_index].path));
  }
  return index != nullptr ? CheckIndex(checkpoint, manifest, shard_of, *index) : absl::OkStatus();
}

using Names = std::vector<absl::string_view>;

// The tensors that the index names for each shard.
std::vector<Names> NamesByShard(const SafetensorsIndex& index) {
  std::vector<Names> names(index.shards.size());
  for (Names& shard : names) shard.reserve(index.entries.size() / names.size() * 2);
  for (const SafetensorsIndex::Entry& entry : index.entries) {
    names[entry.shard_index].push_back(entry.tensor);
  }
  return names;
}

// Whether the tensors are those with `names`. Both are unique.
bool HasExactly(const ShardHeader& header, const Names& names) {
  if (header.tensors.size() != names.size()) return false;
  absl::flat_hash_set<absl::string_view> tensors;
  tensors.reserve(header.tensors.size());
  for (const TensorEntry& tensor : header.tensors) tensors.insert(tensor.name);
  return std::all_of(names.begin(), names.end(),
                     [&](absl::string_view name) { return tensors.contains(name); });
}

}  // namespace

absl::StatusOr<ShardHeaders> ReadHeaders(const Checkpoint& checkpoint,
                                         const SafetensorsIndex* index,
                                         const CatalogOptions& options) {
  const std::vector<Names> names = index != nullptr ? NamesByShard(*index) : std::vector<Names>();
  const size_t count = checkpoint.shard_paths.size();
  const uint32_t threads_of_each = count > 1 ? 1 : options.header_threads;
  std::atomic<bool> as_indexed = index != nullptr;
  ShardHeaders shards;
  shards.files.resize(count);
  shards.headers.resize(count);
  RETURN_IF_ERROR(ParallelForEach(options.header_threads, count, [&](size_t i) {
    absl::StatusOr<std::shared_ptr<File>> opened =
        checkpoint.volume->Open(checkpoint.shard_paths[i]);
    if (!opened.ok()) return ShardProblem(checkpoint, i, opened.status());
    shards.files[i] = *std::move(opened);
    const File& file = *shards.files[i];
    // Closes it when it is done with.
    const std::unique_ptr<FileUse> use = file.Use();
    if (const absl::StatusOr<bool> open = use->Ready(); !open.ok()) return open.status();
    ASSIGN_OR_RETURN(shards.headers[i], FormatOf(file.path()) == FileFormat::kTensors
                                            ? ReadTensors(file, options, threads_of_each)
                                            : ReadSafetensors(file, options));
    if (as_indexed.load() && !HasExactly(shards.headers[i], names[i])) as_indexed.store(false);
    return absl::OkStatus();
  }));
  shards.as_indexed = as_indexed.load();
  return shards;
}

absl::StatusOr<Manifest> AssembleManifest(const Checkpoint& checkpoint, ShardHeaders shards,
                                          const SafetensorsIndex* index,
                                          const CatalogOptions& options) {
  uint64_t count = 0;
  for (const ShardHeader& header : shards.headers) count += header.tensors.size();
  if (count > options.tensors_max) return TooManyTensors(checkpoint, count, options.tensors_max);

  Manifest manifest;
  manifest.tensors.reserve(count);
  for (ShardHeader& header : shards.headers) {
    const uint32_t shard_index = static_cast<uint32_t>(manifest.shards.size());
    manifest.shards.push_back(std::move(header.shard));
    if (!header.stored.empty()) {
      manifest.stored.resize(manifest.tensors.size());  // of safetensors before it
      std::move(header.stored.begin(), header.stored.end(), std::back_inserter(manifest.stored));
    }
    for (TensorEntry& tensor : header.tensors) {
      tensor.shard_index = shard_index;
      manifest.tensors.push_back(std::move(tensor));
    }
    manifest.metadata.merge(header.metadata);  // keeps what is there
  }
  if (!manifest.stored.empty()) manifest.stored.resize(manifest.tensors.size());
  if (!shards.as_indexed) RETURN_IF_ERROR(CheckTensors(checkpoint, manifest, index));
  return manifest;
}

}  // namespace weightd
