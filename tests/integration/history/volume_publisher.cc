#include "tests/integration/history/volume_publisher.h"

#include <fcntl.h>
#include <stdio.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "tests/support/checkpoints/checkpoint_writer.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kPauseMinMs = 5;
constexpr int kPauseMaxMs = 60;

absl::Status Rename(const std::string& from, const std::string& to, unsigned flags = 0) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0) {
    return absl::OkStatus();
  }
  return PosixError(errno, absl::StrCat("rename ", from, " to ", to));
}

absl::Status RemoveAll(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? PosixError(error.value(), absl::StrCat("remove ", path)) : absl::OkStatus();
}

// The entry of a root, or of the workshop, that a model is.
std::string EntryOf(const HistoryModel& model) {
  if (model.layout == ModelLayout::kFile) return model.name + ".safetensors";
  if (model.layout != ModelLayout::kHubCache) return model.name;
  return absl::StrCat("models--", absl::StrReplaceAll(model.name, {{"/", "--"}}));
}

}  // namespace

VolumePublisher::VolumePublisher(std::string root, std::string workshop)
    : root_(std::move(root)), workshop_(std::move(workshop)) {}

absl::Status VolumePublisher::PublishAll() {
  for (const HistoryModel& model : HistoryModels()) {
    RETURN_IF_ERROR(Publish(model, Swap::kExchange));
  }
  return absl::OkStatus();
}

absl::Status VolumePublisher::PublishUntil(const absl::Notification& stop, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<int> pause(kPauseMinMs, kPauseMaxMs);
  std::uniform_int_distribution<size_t> model(0, HistoryModels().size() - 1);
  std::bernoulli_distribution moves_aside(0.25);
  while (!stop.WaitForNotificationWithTimeout(absl::Milliseconds(pause(random)))) {
    RETURN_IF_ERROR(Publish(HistoryModels()[model(random)],
                            moves_aside(random) ? Swap::kMoveAside : Swap::kExchange));
  }
  return absl::OkStatus();
}

absl::Status VolumePublisher::Publish(const HistoryModel& model, Swap swap) {
  const auto current = current_.find(model.name);
  const uint64_t old_version = current == current_.end() ? 0 : versions_[current->second].version;
  const uint64_t version = old_version + 1;
  RETURN_IF_ERROR(Write(model, version));
  versions_.push_back({.model = model.name, .version = version, .published_after = absl::Now()});
  RETURN_IF_ERROR(PutInPlace(model, version, swap));
  if (old_version > 0) versions_[current->second].retired_before = absl::Now();
  current_[model.name] = versions_.size() - 1;
  return old_version > 0 ? Clear(model, old_version) : absl::OkStatus();
}

absl::Status VolumePublisher::Write(const HistoryModel& model, uint64_t version) const {
  const std::vector<TensorSpec> specs = VersionSpecs(model, version);
  WriteOptions options;
  options.seed = VersionSeed(model, version);
  options.metadata = {{kModelKey, model.name}, {kVersionKey, absl::StrCat(version)}};
  const std::string path = absl::StrCat(workshop_, "/", EntryOf(model));
  switch (model.layout) {
    case ModelLayout::kFile:
      return WriteSafetensors(path, specs, options);
    case ModelLayout::kHubCache:
      return WriteHubCache(workshop_, model.name, VersionRevision(version), specs, 1, options);
    case ModelLayout::kDirectory:
    case ModelLayout::kShards:
      return WriteSharded(path, specs, VersionShards(model, version), options);
  }
  return absl::OkStatus();
}

absl::Status VolumePublisher::PutInPlace(const HistoryModel& model, uint64_t version,
                                         Swap swap) const {
  const std::string made = absl::StrCat(workshop_, "/", EntryOf(model));
  const std::string place = absl::StrCat(root_, "/", EntryOf(model));
  if (version == 1 || model.layout == ModelLayout::kFile) return Rename(made, place);
  if (model.layout == ModelLayout::kHubCache) return PutSnapshotInPlace(model, version);
  if (swap == Swap::kExchange) return Rename(made, place, RENAME_EXCHANGE);
  const std::string aside = made + ".old";
  RETURN_IF_ERROR(Rename(place, aside));
  RETURN_IF_ERROR(Rename(made, place));
  return Rename(aside, made);
}

// Blobs first, then what links them, and last the name of the revision.
absl::Status VolumePublisher::PutSnapshotInPlace(const HistoryModel& model,
                                                 uint64_t version) const {
  const std::string made = absl::StrCat(workshop_, "/", EntryOf(model));
  const std::string place = absl::StrCat(root_, "/", EntryOf(model));
  std::error_code error;
  for (const auto& blob : fs::directory_iterator(made + "/blobs", error)) {
    RETURN_IF_ERROR(Rename(blob.path().string(),
                           absl::StrCat(place, "/blobs/", blob.path().filename().string())));
  }
  if (error) return PosixError(error.value(), absl::StrCat("list ", made, "/blobs"));
  const std::string snapshot = absl::StrCat("/snapshots/", VersionRevision(version));
  RETURN_IF_ERROR(Rename(made + snapshot, place + snapshot));
  return Rename(made + "/refs/main", place + "/refs/main");
}

absl::Status VolumePublisher::Clear(const HistoryModel& model, uint64_t old_version) const {
  RETURN_IF_ERROR(RemoveAll(absl::StrCat(workshop_, "/", EntryOf(model))));
  if (model.layout != ModelLayout::kHubCache) return absl::OkStatus();
  const std::string place = absl::StrCat(root_, "/", EntryOf(model));
  const std::string snapshot = absl::StrCat(place, "/snapshots/", VersionRevision(old_version));
  std::error_code error;
  std::vector<fs::path> blobs;
  for (const auto& link : fs::directory_iterator(snapshot, error)) {
    blobs.push_back(fs::path(snapshot) / fs::read_symlink(link.path(), error));
  }
  if (error) return PosixError(error.value(), absl::StrCat("list ", snapshot));
  RETURN_IF_ERROR(RemoveAll(snapshot));
  for (const fs::path& blob : blobs) {
    RETURN_IF_ERROR(RemoveAll((fs::path(place) / "blobs" / blob.filename()).string()));
  }
  return absl::OkStatus();
}

}  // namespace weightd::testing
