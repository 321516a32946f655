#include "daemon/catalog/root_check.h"

#include <utility>

#include "absl/strings/str_cat.h"

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

}  // namespace

RootFacts CheckRoot(const std::shared_ptr<Volume>& volume, const CatalogOptions& options, bool read,
                    const ReadSpeedLimits& limits) {
  RootFacts facts;
  facts.root = volume->root();
  facts.kind = volume->file_system();
  // A directory that was removed is still open, and looks empty.
  if (const auto again = OpenVolume(volume->root()); !again.ok()) {
    facts.error = absl::StrCat("not there any more: ", again.status().message());
    return facts;
  }
  const auto checkpoints = Catalog({volume}, options).List();
  if (!checkpoints.ok()) {
    facts.error = std::string(checkpoints.status().message());
    return facts;
  }
  facts.file = LargestFile(*checkpoints);
  if (facts.file.empty()) return facts;
  const auto file = volume->Open(facts.file);
  if (!file.ok()) {
    facts.error = std::string(file.status().message());
    return facts;
  }
  facts.direct_alignment = (*file)->direct_alignment();
  if (!read) return facts;
  absl::StatusOr<ReadSpeed> speed = MeasureReadSpeed(**file, limits);
  if (speed.ok()) {
    facts.speed = *std::move(speed);
  } else {
    facts.error = std::string(speed.status().message());
  }
  return facts;
}

}  // namespace weightd
