// The part of the books that knows what operators want to stay.

#include <algorithm>
#include <utility>

#include "daemon/residency/residency_table.h"

namespace weightd {

bool ResidencyTable::IsPinned(const CopyInfo& info) const {
  return !info.superseded && !info.host_copy && !PinsOn(info).empty();
}

std::vector<Pin> ResidencyTable::PinsOn(const CopyInfo& info) const {
  std::vector<Pin> pins;
  for (const std::string& revision : info.asked_as) {
    const auto pin = pins_.find({info.model, revision, info.device});
    if (pin != pins_.end()) pins.push_back(*pin);
  }
  return pins;
}

// "" where it has none, and where only the model is pinned.
std::string ResidencyTable::PinnedRevisionOf(const CopyInfo& info) const {
  if (info.host_copy) return "";
  for (const Pin& pin : PinsOn(info)) {
    if (!pin.asked_revision.empty()) return pin.asked_revision;
  }
  return "";
}

void ResidencyTable::StopFollowing(CopyInfo& info, const std::string& revision) {
  info.superseded = false;
  info.superseded_by = {};
  info.asked_revision = revision;
  info.asked_as.erase("");
  info.asked_as.insert(revision);
}

void ResidencyTable::TakePinsOff(const CopyInfo& info) {
  for (const Pin& pin : PinsOn(info)) pins_.erase(pin);
}

absl::StatusOr<std::vector<CopyInfo>> ResidencyTable::SetPinned(const ModelRef& ref,
                                                                const std::string& device,
                                                                bool pinned) {
  absl::MutexLock lock(&mu_);
  const std::vector<Record*> found = Find(ref, device);
  bool any = false;
  for (Record* record : found) {
    CopyInfo& info = record->info;
    if (info.host_copy) continue;
    any = true;
    if (!pinned) {
      TakePinsOff(info);
      continue;
    }
    const std::string& as = ref.generation.has_value() ? info.asked_revision : ref.revision;
    info.asked_as.insert(as);
    pins_.insert({info.model, as, info.device});
  }
  if (!pinned && !ref.generation.has_value()) {
    any = std::erase_if(pins_,
                        [&](const Pin& pin) {
                          return pin.model == ref.model && pin.asked_revision == ref.revision &&
                                 (device.empty() || pin.device == device);
                        }) > 0 ||
          any;
  }
  if (!any) return NotFound(ref, device);
  std::vector<CopyInfo> changed;
  for (const Record* record : found) {
    if (!record->info.host_copy) changed.push_back(Told(*record));
  }
  return changed;
}

std::vector<Pin> ResidencyTable::pins() const {
  absl::MutexLock lock(&mu_);
  return {pins_.begin(), pins_.end()};
}

void ResidencyTable::RestorePins(const std::vector<Pin>& pins) {
  absl::MutexLock lock(&mu_);
  pins_.insert(pins.begin(), pins.end());
}

}  // namespace weightd
