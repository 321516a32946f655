#include "daemon/catalog/root_check.h"

#include <utility>

#include "common/errors.h"

namespace weightd {
namespace {

// Path of the largest shard; empty without one.
std::string LargestFile(const std::vector<Checkpoint>& checkpoints) {
  std::string largest;
  uint64_t bytes = 0;
  for (const Checkpoint& checkpoint : checkpoints) {
    // Where the files could not be opened there are no identities.
    for (size_t i = 0; i < checkpoint.identities.size(); ++i) {
      if (checkpoint.identities[i].size_bytes <= bytes) continue;
      bytes = checkpoint.identities[i].size_bytes;
      largest = checkpoint.shard_paths[i];
    }
  }
  return largest;
}

void SetError(const absl::Status& status, RootFacts& facts) {
  facts.error = std::string(status.message());
  if (GetReason(status).has_value()) facts.reason = std::string(ReasonWord(status));
}

// On this thread.
RootFacts CheckHere(Root& root, std::shared_ptr<const RootScan> last, const CatalogOptions& options,
                    bool read, const ReadSpeedLimits& limits) {
  RootFacts facts;
  facts.root = root.path();
  if (const auto refreshed = root.Refresh(); !refreshed.ok()) {
    SetError(refreshed.status(), facts);
    return facts;
  }
  const absl::StatusOr<std::shared_ptr<Volume>> volume = root.volume();
  if (!volume.ok()) {
    SetError(volume.status(), facts);
    return facts;
  }
  facts.kind = (*volume)->file_system();
  if (last == nullptr) {
    auto found = ScanVolume(*volume, options);
    if (!found.ok()) {
      SetError(found.status(), facts);
      return facts;
    }
    auto scan = std::make_shared<RootScan>();
    scan->checkpoints = std::move(found->checkpoints);
    last = std::move(scan);
  }
  facts.file = LargestFile(last->checkpoints);
  if (facts.file.empty()) return facts;
  const auto file = (*volume)->Open(facts.file);
  if (!file.ok()) {
    SetError(file.status(), facts);
    return facts;
  }
  facts.direct_alignment = (*file)->direct_alignment();
  if (!read) return facts;
  absl::StatusOr<ReadSpeed> speed = MeasureReadSpeed(**file, limits);
  if (speed.ok()) {
    facts.speed = *std::move(speed);
  } else {
    SetError(speed.status(), facts);
  }
  return facts;
}

}  // namespace

RootFacts CheckRoot(const std::shared_ptr<Root>& root, std::shared_ptr<const RootScan> last,
                    const CatalogOptions& options, bool read, const ReadSpeedLimits& limits,
                    absl::Duration patience) {
  const auto check = [=]() -> absl::StatusOr<RootFacts> {
    return CheckHere(*root, last, options, read, limits);
  };
  if (root->threads() == nullptr) return *check();
  absl::StatusOr<RootFacts> facts =
      root->threads()->Call<RootFacts>("look at the root for doctor", check, {.silence = patience});
  if (facts.ok()) return *std::move(facts);
  RootFacts failed;
  failed.root = root->path();
  SetError(facts.status(), failed);
  return failed;
}

}  // namespace weightd
