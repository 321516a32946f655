#include "tests/support/checkpoints/checkpoint_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/unique_fd.h"

namespace weightd::testing {
namespace {

constexpr size_t kBufferBytes = 4 * kMiB;

absl::Status MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return error ? PosixError(error.value(), absl::StrCat("create ", path)) : absl::OkStatus();
}

absl::StatusOr<UniqueFd> CreateFile(const std::string& path) {
  RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(path).parent_path().string()));
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return PosixError(errno, absl::StrCat("create ", path));
  return fd;
}

absl::Status WriteAll(int fd, absl::Span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return PosixError(errno, "write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Span<const std::byte> AsBytes(absl::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// Specs in the order of their data.
std::vector<TensorSpec> LayOut(absl::Span<const TensorSpec> specs, const WriteOptions& options) {
  std::vector<TensorSpec> ordered(specs.begin(), specs.end());
  if (!options.keep_order) {
    std::stable_sort(ordered.begin(), ordered.end(), [](const TensorSpec& a, const TensorSpec& b) {
      return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
    });
  }
  return ordered;
}

std::string Json(absl::string_view text) { return nlohmann::json(std::string(text)).dump(); }

absl::Status WriteContent(int fd, absl::Span<const TensorSpec> ordered, uint64_t seed) {
  std::vector<std::byte> buffer(kBufferBytes);
  size_t used = 0;
  for (const TensorSpec& spec : ordered) {
    const uint64_t bytes = SpecBytes(spec);
    for (uint64_t offset = 0; offset < bytes;) {
      const size_t part = std::min<uint64_t>(bytes - offset, buffer.size() - used);
      FillTensorBytes(seed, spec.name, offset, absl::MakeSpan(buffer).subspan(used, part));
      offset += part;
      used += part;
      if (used == buffer.size()) {
        RETURN_IF_ERROR(WriteAll(fd, buffer));
        used = 0;
      }
    }
  }
  return WriteAll(fd, absl::MakeConstSpan(buffer).first(used));
}

// A name for a blob that differs where path or seed does; real ones are SHA-256 of the content.
std::string BlobName(absl::string_view model, absl::string_view file, uint64_t seed) {
  std::vector<std::byte> bytes(32);
  FillTensorBytes(seed, absl::StrCat(model, "/", file), 0, absl::MakeSpan(bytes));
  std::string name;
  for (const std::byte byte : bytes)
    absl::StrAppendFormat(&name, "%02x", std::to_integer<int>(byte));
  return name;
}

// Moves the files of `staged` into blobs and links them from the snapshot.
absl::Status MoveToBlobs(const std::filesystem::path& staged, const std::filesystem::path& repo,
                         absl::string_view model, absl::string_view revision, uint64_t seed) {
  const std::filesystem::path snapshot = repo / "snapshots" / std::string(revision);
  RETURN_IF_ERROR(MakeDirectories(snapshot.string()));
  RETURN_IF_ERROR(MakeDirectories((repo / "blobs").string()));
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(staged, error)) {
    const std::string file = entry.path().filename().string();
    const std::string blob = BlobName(model, absl::StrCat(revision, "/", file), seed);
    std::filesystem::rename(entry.path(), repo / "blobs" / blob, error);
    if (error) break;
    std::filesystem::remove(snapshot / file, error);
    std::filesystem::create_symlink(std::filesystem::path("../../blobs") / blob, snapshot / file,
                                    error);
    if (error) break;
  }
  if (error) return PosixError(error.value(), absl::StrCat("fill ", snapshot.string()));
  std::filesystem::remove(staged, error);
  return absl::OkStatus();
}

}  // namespace

std::string SafetensorsHeaderText(absl::Span<const TensorSpec> specs, const WriteOptions& options) {
  std::string header = "{";
  if (!options.metadata.empty()) {
    absl::StrAppend(&header, "\"__metadata__\":", nlohmann::json(options.metadata).dump(), ",");
  }
  uint64_t offset = 0;
  for (const TensorSpec& spec : LayOut(specs, options)) {
    const uint64_t end = offset + SpecBytes(spec);
    absl::StrAppend(&header, Json(spec.name), ":{\"dtype\":\"", DtypeName(spec.dtype),
                    "\",\"shape\":", nlohmann::json(spec.shape).dump(), ",\"data_offsets\":[",
                    offset, ",", end, "]},");
    offset = end;
  }
  if (header.back() == ',') header.pop_back();
  header.push_back('}');
  while (header.size() % options.header_alignment != 0) header.push_back(' ');
  return header;
}

std::string SafetensorsPrefix(absl::string_view header) {
  std::string prefix;
  for (int shift = 0; shift < 64; shift += 8) {
    prefix.push_back(static_cast<char>((uint64_t{header.size()} >> shift) & 0xFF));
  }
  return absl::StrCat(prefix, header);
}

absl::Status WriteSafetensors(const std::string& path, absl::Span<const TensorSpec> specs,
                              const WriteOptions& options) {
  ASSIGN_OR_RETURN(const UniqueFd fd, CreateFile(path));
  absl::Status status =
      WriteAll(fd.get(), AsBytes(SafetensorsPrefix(SafetensorsHeaderText(specs, options))));
  if (status.ok()) status = WriteContent(fd.get(), LayOut(specs, options), options.seed);
  return Annotate(status, path);
}

std::vector<std::vector<TensorSpec>> SplitSpecs(absl::Span<const TensorSpec> specs,
                                                uint64_t count) {
  std::vector<std::vector<TensorSpec>> parts(std::max<uint64_t>(1, count));
  const uint64_t total = SpecBytes(specs);
  uint64_t before = 0;
  size_t part = 0;
  for (size_t i = 0; i < specs.size(); ++i) {
    const size_t parts_left = parts.size() - part - 1;
    // 128 bits: sizes times the number of parts may pass 64.
    const bool is_full = static_cast<unsigned __int128>(before) * parts.size() >=
                         static_cast<unsigned __int128>(total) * (part + 1);
    const bool must_move = specs.size() - i <= parts_left;
    if (!parts[part].empty() && parts_left > 0 && (is_full || must_move)) ++part;
    parts[part].push_back(specs[i]);
    before += SpecBytes(specs[i]);
  }
  return parts;
}

std::string ShardName(uint64_t index, uint64_t count) {
  return absl::StrFormat("model-%05d-of-%05d.safetensors", index + 1, count);
}

std::string IndexText(absl::Span<const std::vector<TensorSpec>> shards) {
  std::map<std::string, std::string> weight_map;
  uint64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const TensorSpec& spec : shards[i]) weight_map[spec.name] = ShardName(i, shards.size());
    total += SpecBytes(shards[i]);
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  return index.dump(2) + "\n";
}

absl::Status WriteSharded(const std::string& dir, absl::Span<const TensorSpec> specs,
                          uint64_t shard_count, const WriteOptions& options) {
  if (shard_count <= 1) return WriteSafetensors(dir + "/model.safetensors", specs, options);
  const std::vector<std::vector<TensorSpec>> shards = SplitSpecs(specs, shard_count);
  for (size_t i = 0; i < shards.size(); ++i) {
    RETURN_IF_ERROR(
        WriteSafetensors(absl::StrCat(dir, "/", ShardName(i, shards.size())), shards[i], options));
  }
  return WriteRawFile(dir + "/model.safetensors.index.json", IndexText(shards));
}

absl::Status WriteHubCache(const std::string& root, absl::string_view model,
                           absl::string_view revision, absl::Span<const TensorSpec> specs,
                           uint64_t shard_count, const WriteOptions& options) {
  const std::filesystem::path repo =
      std::filesystem::path(root) /
      absl::StrCat("models--", absl::StrReplaceAll(model, {{"/", "--"}}));
  const std::filesystem::path staged = repo / ".staged";
  RETURN_IF_ERROR(WriteSharded(staged.string(), specs, shard_count, options));
  RETURN_IF_ERROR(MoveToBlobs(staged, repo, model, revision, options.seed));
  return WriteRawFile((repo / "refs" / "main").string(), revision);
}

absl::Status WriteRawFile(const std::string& path, absl::string_view bytes) {
  ASSIGN_OR_RETURN(const UniqueFd fd, CreateFile(path));
  return Annotate(WriteAll(fd.get(), AsBytes(bytes)), path);
}

}  // namespace weightd::testing
