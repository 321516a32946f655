// The part of the books that knows what operators want to stay.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/residency/residency_table.h"

namespace weightd {

bool ResidencyTable::IsPinned(const CopyInfo& info) const {
  if (info.superseded || info.host_copy) return false;
  return std::any_of(info.asked_as.begin(), info.asked_as.end(),
                     [&](const std::string& revision) ABSL_SHARED_LOCKS_REQUIRED(mu_) {
                       return pins_.contains({info.model, revision, info.device});
                     });
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
  std::vector<Record*> found = Find(ref, device);
  std::erase_if(found, [](const Record* record) { return record->info.host_copy; });
  const size_t pins_before = pins_.size();
  if (pinned) {
    for (Record* record : found) {
      CopyInfo& info = record->info;
      const std::string& as = ref.generation.has_value() ? info.asked_revision : ref.revision;
      info.asked_as.insert(as);
      pins_.insert({info.model, as, info.device});
    }
  } else {
    Unpin(ref, device, found);
  }
  if (found.empty() && pins_.size() == pins_before) return NotFound(ref, device);
  std::vector<CopyInfo> changed;
  for (const Record* record : found) changed.push_back(Told(*record));
  if (!pinned && pins_.size() == pins_before) RETURN_IF_ERROR(CheckUnpinned(ref, found));
  return changed;
}

// A pin is of its name alone: that of a revision is not taken back by the model's.
void ResidencyTable::Unpin(const ModelRef& ref, const std::string& device,
                           const std::vector<Record*>& found) {
  if (ref.generation.has_value()) {
    for (const Record* record : found) TakePinsOff(record->info);
    return;
  }
  std::erase_if(pins_, [&](const Pin& pin) {
    return pin.model == ref.model && pin.asked_revision == ref.revision &&
           (device.empty() || pin.device == device);
  });
}

absl::Status ResidencyTable::CheckUnpinned(const ModelRef& ref,
                                           const std::vector<Record*>& found) const {
  for (const Record* record : found) {
    if (!IsPinned(record->info)) continue;
    const ModelRef name = {.model = ref.model,
                           .revision = PinsOn(record->info).front().asked_revision};
    return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kModelBusy,
                           absl::StrCat(ToString(ref), " is pinned on ", record->info.device,
                                        " as ", ToString(name), "; unpin that"));
  }
  return absl::OkStatus();
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
