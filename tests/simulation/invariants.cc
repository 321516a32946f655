// What must hold after every step: design.md, section 5.

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/simulation/world.h"

namespace weightd::testing {
namespace {

std::string Text(const CopyInfo& info) {
  return absl::StrCat(info.model, " generation ", info.id.value(), " on ", info.device, " (",
                      ResidencyStateName(info.state), ", leases ", info.lease_count, ")");
}

bool IsLeasable(ResidencyState state) {
  return state == ResidencyState::kResident || state == ResidencyState::kRevoking;
}

}  // namespace

void World::Violate(std::string text) {
  if (violation_.empty()) violation_ = std::move(text);
}

void World::OnEvent(const Event& event) {
  constexpr size_t kKept = 40;
  ++counts_[std::string(EventTypeName(event.type))];
  if (event.reason == "CANCELLED") ++counts_["cancelled"];
  if (event.reason == "VOLUME_STUCK") ++counts_["stuck"];
  if (absl::StrContains(event.detail, "holds the thread")) ++counts_["threads left"];
  last_events_.push_back(absl::StrCat(
      event.sequence, " ", EventTypeName(event.type), " ", event.model, " on ", event.device,
      " generation ", event.generation_id, " job ", event.job_id, " ", event.detail));
  if (last_events_.size() > kKept) last_events_.pop_front();
}

std::string World::Describe() const {
  std::string text = absl::StrJoin(last_events_, "\n");
  for (const CopyInfo& info : residency_->List()) {
    absl::StrAppend(&text, "\ncopy ", info.copy.value(), " ", Text(info),
                    info.asked_revision.empty() ? "" : " @", info.asked_revision,
                    info.host_copy ? ", host copy" : "", info.superseded ? ", superseded" : "",
                    info.pinned ? ", pinned" : "", ", holds ", info.hold_count, ", job ",
                    info.job.value(), ", bytes ", info.allocated_bytes);
  }
  return text;
}

void World::Check() {
  const std::vector<CopyInfo> list = residency_->List();
  std::map<CopyId, CopyInfo> copies;
  for (const CopyInfo& info : list) copies.emplace(info.copy, info);
  CheckLeases(copies);
  CheckBooks(list);
  CheckPins(copies);
  for (const auto& device : devices_) {
    for (const std::string& text : device->violations()) Violate(text);
    for (const std::string& text : device->inner().violations()) Violate(text);
  }
}

// No lease ever names a copy that is not resident; the books know how many there are.
void World::CheckLeases(const std::map<CopyId, CopyInfo>& copies) {
  std::map<CopyId, uint32_t> counts;
  std::map<uint32_t, uint32_t> per_uid;
  for (const LeaseInfo& lease : leases_->List()) {
    ++counts[lease.content->copy];
    ++per_uid[lease.peer.uid];
  }
  for (const auto& [id, count] : counts) {
    const auto found = copies.find(id);
    if (found == copies.end()) {
      Violate(absl::StrCat("a lease on copy ", id.value(), ", which is gone"));
    } else if (!IsLeasable(found->second.state) || found->second.lease_count < count) {
      Violate(absl::StrCat(count, " leases on ", Text(found->second)));
    }
  }
  for (const auto& [uid, count] : per_uid) {
    if (count > 5) Violate(absl::StrCat("uid ", uid, " has ", count, " leases"));
  }
}

// The sum of what is booked never exceeds a budget, and what is allocated never what is booked. Of
// each model one copy on a device follows the volume, and one in the host tier is kept for the
// GPUs.
void World::CheckBooks(const std::vector<CopyInfo>& list) {
  std::map<std::string, uint64_t> booked;
  std::set<std::tuple<std::string, std::string, bool>> following;
  for (const CopyInfo& info : list) {
    booked[info.device] += info.allocated_bytes;
    if (info.is_held() && !IsLeasable(info.state)) Violate(absl::StrCat("held: ", Text(info)));
    if (info.stuck && info.state != ResidencyState::kFailed) {
      Violate(absl::StrCat("stuck, and not failed: ", Text(info)));
    }
    if (info.state != ResidencyState::kResident || info.superseded) continue;
    if (!info.asked_revision.empty()) continue;
    if (!following.emplace(info.model, info.device, info.host_copy).second) {
      Violate(absl::StrCat("a second copy that follows the volume: ", Text(info)));
    }
  }
  for (const DeviceUsage& usage : residency_->Usage()) {
    const std::string& id = usage.budget.device;
    if (usage.used_bytes != booked[id] || usage.used_bytes > usage.budget.bytes) {
      Violate(absl::StrCat(id, ": used ", usage.used_bytes, ", booked ", booked[id], ", budget ",
                           usage.budget.bytes));
    }
    if (usage.stuck_bytes > 0) ++counts_["booked while stuck"];
    const uint64_t allocated = DeviceOf(id)->inner().used_bytes();
    if (allocated > usage.used_bytes) {
      Violate(absl::StrCat(id, ": allocated ", allocated, ", booked ", usage.used_bytes));
    }
  }
}

// What is pinned stays, until somebody unpins it, evicts it by force, or a newer one takes its
// place.
void World::CheckPins(const std::map<CopyId, CopyInfo>& copies) {
  for (const auto& entry : pinned_) {
    const CopyInfo& info = entry.second;  // clang 14 lets no lambda capture a binding
    const auto found = copies.find(entry.first);
    if (found != copies.end() && (IsLeasable(found->second.state) || found->second.superseded)) {
      continue;
    }
    const bool replaced = std::any_of(copies.begin(), copies.end(), [&info](const auto& other) {
      const CopyInfo& newer = other.second;
      return newer.model == info.model && newer.device == info.device && newer.id > info.id &&
             newer.state == ResidencyState::kResident;
    });
    if (!replaced && !unpinned_.contains(info.model) && !unpinning_.contains(info.model)) {
      Violate(absl::StrCat("pinned and evicted: ", Text(info)));
    }
  }
  pinned_.clear();
  for (const auto& [id, info] : copies) {
    if (info.pinned && info.state == ResidencyState::kResident) pinned_.emplace(id, info);
  }
}

// Nothing is on its way any more, and everybody has an answer.
void World::CheckAtRest() {
  if (!residency_->stuck().empty()) Violate("at rest: a stage whose reads have not come back");
  for (const CopyInfo& info : residency_->List()) {
    if (info.state != ResidencyState::kResident) {
      Violate(absl::StrCat("at rest: ", Text(info)));
    }
    if (info.hold_count > 0) Violate(absl::StrCat("a hold is left on ", Text(info)));
    if (info.superseded && info.lease_count == 0) {
      Violate(absl::StrCat("superseded and not gone: ", Text(info)));
    }
  }
  for (const auto& job : accepted_) {
    if (!job->snapshot().final()) Violate(absl::StrCat("job ", job->id().value(), " never ended"));
  }
  accepted_.clear();
  if (!ClientsIn(Client::Phase::kWaiting).empty() || !ClientsIn(Client::Phase::kBusy).empty()) {
    Violate("a client has no answer");
  }
}

}  // namespace weightd::testing
