#include "tests/simulation/published_models.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/check.h"
#include "common/status_macros.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/executor/actors.h"

namespace weightd::testing {
namespace {

constexpr size_t kRevisionsMax = 3;
constexpr char kHubDirectory[] = "models--org--hub";

}  // namespace

absl::StatusOr<DirListing> SimulatedVolume::List(absl::string_view directory, size_t entries_max) {
  Actors::Yield();
  RETURN_IF_ERROR(faults_.Hit(Call::kList));
  return inner_.List(directory, entries_max);
}

absl::StatusOr<PathFacts> SimulatedVolume::Stat(absl::string_view path) {
  Actors::Yield();
  RETURN_IF_ERROR(faults_.Hit(Call::kOpen));
  return inner_.Stat(path);
}

absl::StatusOr<std::shared_ptr<File>> SimulatedVolume::Open(absl::string_view path) {
  Actors::Yield();
  RETURN_IF_ERROR(faults_.Hit(Call::kOpen));
  return inner_.Open(path);
}

PublishedModels::PublishedModels(MemoryVolume& volume, uint64_t seed)
    : volume_(volume),
      random_(seed),
      names_({"a", "b", "c", "two", "three", kHubModel}),
      shards_({{"a", 1}, {"b", 1}, {"c", 1}, {"two", 2}, {"three", 3}, {kHubModel, 1}}) {
  for (const std::string& name : names_) Replace(name);
}

// A file of one or two tensors and up to 6 KiB, which no other file has the bytes of.
std::string PublishedModels::MakeFile(uint32_t index) {
  std::vector<TensorSpec> specs;
  uint64_t bytes = 0;
  for (uint64_t i = 0; i <= random_() % 2; ++i) {
    const uint64_t size = 1 + random_() % 3072;
    specs.push_back(
        {.name = absl::StrCat("w", index, ".", i), .dtype = Dtype::kU8, .shape = {size}});
    bytes += size;
  }
  std::string data(bytes, '\0');
  for (char& byte : data) byte = static_cast<char>(random_());
  return SafetensorsPrefix(SafetensorsHeaderText(specs, {.keep_order = true})) + data;
}

std::vector<std::string> PublishedModels::PathsOf(const std::string& name) const {
  if (name == kHubModel) {
    return {absl::StrCat(kHubDirectory, "/snapshots/", revisions_.back(), "/model.safetensors")};
  }
  const uint32_t count = shards_.at(name);
  if (count == 1) return {absl::StrCat(name, ".safetensors")};
  std::vector<std::string> paths;
  for (uint32_t i = 0; i < count; ++i) {
    paths.push_back(absl::StrCat(name, "/", ShardName(i, count)));
  }
  return paths;
}

void PublishedModels::Replace(const std::string& name) {
  there_.insert(name);
  if (name == kHubModel) return ReplaceHub();
  const std::vector<std::string> paths = PathsOf(name);
  for (uint32_t i = 0; i < paths.size(); ++i) {
    now_[paths[i]] = MakeFile(i);
    volume_.AddFile(paths[i], now_[paths[i]]);
  }
  Record(name);
}

void PublishedModels::ReplaceHub() {
  const std::string revision =
      absl::StrFormat("%016x%016x%08x", random_(), random_(), static_cast<uint32_t>(random_()));
  revisions_.push_back(revision);
  const std::string path = PathsOf(kHubModel).front();
  now_[path] = MakeFile(0);
  volume_.AddFile(absl::StrCat(kHubDirectory, "/blobs/", revision), now_[path]);
  volume_.AddSymlink(path, absl::StrCat("../../blobs/", revision));
  volume_.AddFile(absl::StrCat(kHubDirectory, "/refs/main"), revision);
  if (revisions_.size() > kRevisionsMax) {
    const std::string old = absl::StrCat(kHubDirectory, "/snapshots/", revisions_.front());
    volume_.Remove(old + "/model.safetensors");
    volume_.Remove(old);
    revisions_.erase(revisions_.begin());
  }
  Record(kHubModel);
}

void PublishedModels::WriteOver(const std::string& name) {
  if (!IsThere(name) || name == kHubModel) return;
  const std::vector<std::string> paths = PathsOf(name);
  const std::string& path = paths[random_() % paths.size()];
  std::string& bytes = now_[path];
  // Behind the header, which stays.
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  const uint64_t begin = sizeof(header_bytes) + header_bytes;
  const uint64_t end = random_() % 2 == 0 ? bytes.size() : begin + (bytes.size() - begin + 1) / 2;
  for (uint64_t i = begin; i < end; ++i) bytes[i] = static_cast<char>(random_());
  volume_.Write(path, begin, bytes.substr(begin, end - begin));
  Record(name);
}

void PublishedModels::Remove(const std::string& name) {
  if (name == kHubModel || there_.erase(name) == 0) return;
  for (const std::string& path : PathsOf(name)) volume_.Remove(path);
}

void PublishedModels::Record(const std::string& name) {
  std::vector<FileKey> state;
  for (const std::string& path : PathsOf(name)) {
    const auto file = volume_.Open(path);
    WEIGHTD_CHECK(file.ok());
    state.push_back(KeyOf((*file)->identity()));
    contents_[state.back()] = now_[path];
  }
  states_[name].insert(state);
}

std::string PublishedModels::Judge(const CopyContent& content,
                                   absl::Span<const std::byte> bytes) const {
  std::vector<FileKey> state;
  for (const FileIdentity& identity : content.identities) state.push_back(KeyOf(identity));
  if (!states_.at(content.model).contains(state)) {
    return absl::StrCat(content.model, " never was what generation ", content.id.value(),
                        " was read from");
  }
  const Manifest& manifest = *content.manifest;
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const TensorEntry& tensor = manifest.tensors[i];
    const std::string& file = contents_.at(state[tensor.shard_index]);
    const uint64_t in_file = manifest.shards[tensor.shard_index].data_offset + tensor.offset;
    const uint64_t in_memory = content.layout->tensor_offsets[i];
    if (in_memory + tensor.bytes > bytes.size() ||
        std::memcmp(file.data() + in_file, bytes.data() + in_memory, tensor.bytes) != 0) {
      return absl::StrCat(content.model, " generation ", content.id.value(), " on ",
                          content.device.id, ": ", tensor.name, " is not what the file had");
    }
  }
  return "";
}

}  // namespace weightd::testing
