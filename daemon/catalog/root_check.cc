#include "daemon/catalog/root_check.h"

#include <atomic>
#include <utility>

#include "absl/synchronization/notification.h"
#include "common/errors.h"
#include "daemon/catalog/parallel.h"

namespace weightd {
namespace {

constexpr uint32_t kThreads = 16;

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

struct RootChecker::Look {
  absl::Notification told;  // then `facts` are fixed
  RootFacts facts;
  std::atomic<bool> began = false;
  std::atomic<bool> came_back = false;

  // Whether the volume is still to answer it.
  bool is_open() const { return !told.HasBeenNotified() || (began.load() && !came_back.load()); }
};

RootChecker::RootChecker(std::vector<std::shared_ptr<Root>> roots, const CatalogOptions& options,
                         const ReadSpeedLimits& limits, absl::Duration patience)
    : options_(options), limits_(limits), patience_(patience) {
  for (std::shared_ptr<Root>& root : roots) places_.push_back({.root = std::move(root)});
}

std::vector<RootFacts> RootChecker::Check(const Catalog::LastScans& last_scans, bool read) {
  std::vector<RootFacts> facts(places_.size());
  (void)ParallelForEach(kThreads, places_.size(), [&](size_t i) {
    facts[i] = CheckOne(places_[i], last_scans ? last_scans(i) : nullptr, read);
    return absl::OkStatus();
  });
  return facts;
}

RootFacts RootChecker::CheckOne(Place& place, std::shared_ptr<const RootScan> last, bool read) {
  std::shared_ptr<Look> look;
  bool is_ours = false;
  {
    absl::MutexLock lock(&mu_);
    std::shared_ptr<Look>& newest = place.looks[read ? 1 : 0];
    if (newest == nullptr || !newest->is_open()) {
      newest = std::make_shared<Look>();
      is_ours = true;
    }
    look = newest;
  }
  if (is_ours) {
    look->facts = Run(place.root, std::move(last), read, look);
    look->told.Notify();
  }
  look->told.WaitForNotification();  // who makes it keeps the deadline
  return look->facts;
}

RootFacts RootChecker::Run(const std::shared_ptr<Root>& root, std::shared_ptr<const RootScan> last,
                           bool read, const std::shared_ptr<Look>& look) const {
  if (root->threads() == nullptr) return CheckHere(*root, last, options_, read, limits_);
  const auto check = [root, last = std::move(last), options = options_, limits = limits_, read,
                      look]() -> absl::StatusOr<RootFacts> {
    look->began.store(true);
    RootFacts facts = CheckHere(*root, last, options, read, limits);
    look->came_back.store(true);
    return facts;
  };
  absl::StatusOr<RootFacts> facts = root->threads()->Call<RootFacts>("look at the root for doctor",
                                                                     check, {.silence = patience_});
  if (facts.ok()) return *std::move(facts);
  RootFacts failed;
  failed.root = root->path();
  SetError(facts.status(), failed);
  return failed;
}

}  // namespace weightd
