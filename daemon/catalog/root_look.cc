#include "daemon/catalog/root_look.h"

#include <utility>

namespace weightd {
namespace {

// First the watch, then the look: what comes in between is seen by one of them.
void KeepWatch(RootLookWork& work) {
  if (work.volume == nullptr || work.volume != work.watched) {
    work.watch.reset();
    work.full = true;
    if (work.volume == nullptr) return;
    auto watch = TreeWatch::Create(work.root->path(), work.volume->file_system(),
                                   {.depth_max = work.options.depth_max});
    work.not_notified = std::string(watch.status().message());
    if (watch.ok()) work.watch = *std::move(watch);
    return;
  }
  if (work.watch == nullptr) return;
  const absl::StatusOr<bool> hints = work.watch->Take();
  if (!hints.ok()) {
    work.watch.reset();
    work.not_notified = std::string(hints.status().message());
  } else if (*hints) {
    work.full = true;
  }
}

}  // namespace

void LookAtRoot(RootLookWork& work) {
  work.problem = work.root->Refresh().status();
  if (auto volume = work.root->volume(); volume.ok()) {
    work.volume = *std::move(volume);
  } else {
    work.problem = volume.status();
  }
  KeepWatch(work);
  if (work.volume == nullptr || !work.problem.ok() || !work.full) return;
  auto found = ScanVolume(work.volume, work.options);
  work.problem = found.ok() ? found->problem : found.status();
  if (!found.ok()) return;
  work.scan = std::make_shared<RootScan>();
  work.scan->checkpoints = std::move(found->checkpoints);
}

}  // namespace weightd
