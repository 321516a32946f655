// The part of the books that gives memory out and takes it back: admission, publishing, eviction.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "daemon/residency/residency_table.h"

namespace weightd {
namespace {

// How long to wait for memory that others give back before looking for a cancel.
constexpr absl::Duration kChangeWait = absl::Milliseconds(100);

absl::Status DoesNotFit(const std::string& model, uint64_t needed, const DeviceUsage& usage,
                        uint64_t copies) {
  if (copies >= usage.budget.copies_max) {
    return ErrorWithReason(
        absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
        absl::StrCat(model, " does not fit on ", usage.budget.device, ": it has ", copies,
                     " copies of models, and each takes a descriptor, of which the process may "
                     "have few; evict or unpin some, or raise RLIMIT_NOFILE (ulimit -n, "
                     "LimitNOFILE=) to 16 times as many copies as you want"));
  }
  return ErrorWithReason(
      absl::StatusCode::kResourceExhausted, Reason::kBudgetExceeded,
      absl::StrCat(model, " does not fit on ", usage.budget.device, ": needs ", FormatBytes(needed),
                   ", budget ", FormatBytes(usage.budget.bytes), ", leased ",
                   FormatBytes(usage.leased_bytes), ", pinned ", FormatBytes(usage.pinned_bytes),
                   ", staging ", FormatBytes(usage.staging_bytes),
                   usage.stuck_bytes == 0 ? ""
                                          : absl::StrCat(", kept by reads of a volume that hangs ",
                                                         FormatBytes(usage.stuck_bytes))),
      {{"device", usage.budget.device},
       {"neededBytes", absl::StrCat(needed)},
       {"budgetBytes", absl::StrCat(usage.budget.bytes)},
       {"leasedBytes", absl::StrCat(usage.leased_bytes)},
       {"pinnedBytes", absl::StrCat(usage.pinned_bytes)},
       {"stagingBytes", absl::StrCat(usage.staging_bytes)},
       {"stuckBytes", absl::StrCat(usage.stuck_bytes)}});
}

// Its memory is on its way back, and nobody can stop that.
bool IsGoing(const CopyInfo& info) {
  if (info.stuck) return false;
  return info.state == ResidencyState::kEvicting || info.state == ResidencyState::kDemoting ||
         info.state == ResidencyState::kFailed;
}

}  // namespace

bool ResidencyTable::MayGo(const CopyInfo& info) const {
  return info.state == ResidencyState::kResident && !info.is_held() && !IsPinned(info);
}

bool ResidencyTable::MayGoOnceLetGo(const CopyInfo& info) const {
  return info.state == ResidencyState::kResident && info.hold_count > 0 && info.lease_count == 0 &&
         !IsPinned(info);
}

// What nobody would promote is not worth keeping: superseded content, what a newer generation on
// another device replaces, and what the host tier has already.
bool ResidencyTable::MayDemote(const Record& record) const {
  if (!options_.demote || record.info.device_kind != DeviceKind::kCuda || record.info.superseded ||
      record.info.damaged) {
    return false;
  }
  const bool has_host_tier =
      std::any_of(options_.budgets.begin(), options_.budgets.end(), [](const DeviceBudget& budget) {
        return budget.kind == DeviceKind::kHost && budget.bytes > 0;
      });
  const CopyInfo& info = record.info;
  const auto spares_it = [&](const auto& entry) {
    const CopyInfo& other = entry.second.info;
    if (other.id == info.id) return other.device_kind == DeviceKind::kHost && !IsGoing(other);
    return info.asked_revision.empty() && other.asked_revision.empty() &&
           other.model == info.model && other.id > info.id && !other.superseded &&
           other.state == ResidencyState::kResident;
  };
  return has_host_tier && std::none_of(records_.begin(), records_.end(), spares_it);
}

Doomed ResidencyTable::Doom(Record& record, EvictReason reason, std::string why, bool demote) {
  WEIGHTD_CHECK(!record.info.is_held());
  const bool may_demote = demote && MayDemote(record);
  Move(record, may_demote ? ResidencyState::kDemoting : ResidencyState::kEvicting);
  return {.info = Told(record),
          .allocation = std::exchange(record.allocation, nullptr),
          .reason = reason,
          .why = std::move(why),
          .may_demote = may_demote};
}

std::vector<Doomed> ResidencyTable::DoomIfDone(Record& record) {
  std::vector<Doomed> doomed;
  if (record.info.is_held()) return doomed;
  if (record.info.state == ResidencyState::kRevoking) {
    doomed.push_back(Doom(record, EvictReason::kForce, "requested by force"));
  } else if (record.info.state == ResidencyState::kResident && record.info.superseded) {
    doomed.push_back(Doom(record, EvictReason::kSuperseded, "superseded"));
  }
  return doomed;
}

uint64_t ResidencyTable::CopiesOn(const std::string& device) const {
  return static_cast<uint64_t>(
      std::count_if(records_.begin(), records_.end(),
                    [&](const auto& entry) { return entry.second.info.device == device; }));
}

ResidencyTable::Fit ResidencyTable::FitOf(const ClaimedPlace& place, absl::Time used_before) {
  const DeviceBudget& budget = BudgetOf(place.device);
  Fit fit;
  uint64_t found = budget.bytes - UsageOf(budget).used_bytes;
  uint64_t copies = CopiesOn(place.device);
  const auto fits = [&] { return found >= place.bytes && copies < budget.copies_max; };
  fit.fits_now = fits();
  std::vector<Record*> order;
  uint64_t held = 0;
  uint64_t held_copies = 0;
  for (auto& [id, record] : records_) {
    if (record.info.device != place.device) continue;
    if (IsGoing(record.info)) {
      found += record.info.allocated_bytes;
      --copies;
    }
    if (MayGo(record.info) && record.info.last_use < used_before) order.push_back(&record);
    if (MayGoOnceLetGo(record.info)) {
      held += record.info.allocated_bytes;
      ++held_copies;
    }
  }
  std::stable_sort(order.begin(), order.end(), [](const Record* a, const Record* b) {
    return a->info.last_use < b->info.last_use;
  });
  for (Record* record : order) {
    if (fits()) break;
    found += record->info.allocated_bytes;
    --copies;
    fit.victims.push_back(record);
  }
  fit.fits = fits();
  found += held;
  copies -= held_copies;
  fit.would_fit = fits();
  return fit;
}

CopyId ResidencyTable::AddRecord(const StageClaim& claim, const ClaimedPlace& place,
                                 GenerationId generation) {
  const CopyId id(next_copy_++);
  CopyInfo& info = records_[id].info;
  info.copy = id;
  info.id = generation;
  info.model = claim.model;
  info.revision = claim.revision;
  info.asked_revision = claim.asked_revision;
  info.asked_as = {claim.asked_revision};
  info.device = place.device;
  info.device_kind = BudgetOf(place.device).kind;
  info.allocated_bytes = place.bytes;
  info.job = claim.job;
  info.host_copy = place.host_copy;
  return id;
}

absl::StatusOr<Admission> ResidencyTable::Admit(const StageClaim& claim) {
  absl::MutexLock lock(&mu_);
  AwaitBriefHolds();
  Admission admission;
  admission.change_count = change_count_;
  std::vector<Fit> fits;
  bool fits_now = true;
  for (const ClaimedPlace& place : claim.places) {
    Fit fit = FitOf(place, claim.used_before);
    if (!fit.fits && !place.host_copy) {
      if (claim.waits_for_holds && fit.would_fit) return admission;
      return DoesNotFit(claim.model, place.bytes, UsageOf(BudgetOf(place.device)),
                        CopiesOn(place.device));
    }
    fits_now = fits_now && (!fit.fits || fit.fits_now);
    fits.push_back(std::move(fit));
  }
  if (fits_now) {
    admission.admitted = true;
    admission.generation =
        claim.generation.valid() ? claim.generation : GenerationId(next_generation_++);
    for (size_t i = 0; i < fits.size(); ++i) {
      admission.copies.push_back(
          fits[i].fits ? AddRecord(claim, claim.places[i], admission.generation) : CopyId());
    }
    return admission;
  }
  for (const Fit& fit : fits) {
    if (!fit.fits) continue;
    for (Record* victim : fit.victims) {
      admission.victims.push_back(Doom(*victim, EvictReason::kRoom,
                                       absl::StrCat("room for ", claim.model), /*demote=*/true));
    }
  }
  return admission;
}

void ResidencyTable::AwaitChange(const Admission& admission) const {
  absl::MutexLock lock(&mu_);
  const auto changed = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return change_count_ != admission.change_count;
  };
  executor_.Await(mu_, absl::Condition(&changed), kChangeWait);
}

void ResidencyTable::Supersede(const CopyInfo& newer, bool whatever_id, PublishResult& result) {
  for (auto& [id, record] : records_) {
    CopyInfo& old = record.info;
    if (old.state != ResidencyState::kResident || old.model != newer.model) continue;
    if (!old.asked_revision.empty() || old.copy == newer.copy) continue;
    if (old.id > newer.id && !whatever_id) continue;
    // A demotion and a job may have made the same content on one device.
    if (old.id == newer.id && old.device != newer.device) continue;
    // A host copy replaces only such; and all that are older go, whatever device they were kept
    // for.
    if (!old.host_copy && (newer.host_copy || old.device != newer.device)) continue;
    // Whoever holds one that was superseded before is told again.
    old.superseded = true;
    old.superseded_by = newer.id;
    if (old.is_held()) result.superseded.push_back(Told(record));
    const std::string pinned_revision = PinnedRevisionOf(old);
    if (!pinned_revision.empty()) {
      StopFollowing(old, pinned_revision);
    } else if (!old.is_held()) {
      result.doomed.push_back(Doom(record, EvictReason::kSuperseded, "superseded"));
    }
  }
}

// What was replaced while it was made is not worth keeping: it goes with its holder.
void ResidencyTable::MarkIfReplaced(Record& record) {
  CopyInfo& info = record.info;
  if (!info.asked_revision.empty()) return;
  for (const auto& [id, other] : records_) {
    const CopyInfo& newer = other.info;
    if (newer.model != info.model || newer.id < info.id || newer.copy == info.copy) continue;
    if (newer.state != ResidencyState::kResident || newer.superseded) continue;
    if (!newer.asked_revision.empty()) continue;
    if (!info.host_copy && (newer.host_copy || newer.device != info.device)) continue;
    if (newer.id == info.id && (!info.host_copy || newer.device != info.device)) continue;
    info.superseded = true;
    info.superseded_by = newer.id;
  }
}

PublishResult ResidencyTable::Publish(std::vector<StagedCopy> copies, bool pin,
                                      absl::Time last_use) {
  absl::MutexLock lock(&mu_);
  PublishResult result;
  for (StagedCopy& copy : copies) {
    Record& record = At(copy.id);
    Move(record, ResidencyState::kResident);
    record.info.content = std::move(copy.content);
    record.info.last_use = last_use;
    record.info.hold_count = 1;
    record.allocation = std::move(copy.allocation);
    if (pin && !record.info.host_copy) {
      pins_.insert({record.info.model, record.info.asked_revision, record.info.device});
    }
    if (record.info.asked_revision.empty()) {
      Supersede(record.info, /*whatever_id=*/false, result);
    }
  }
  for (const StagedCopy& copy : copies) MarkIfReplaced(At(copy.id));
  return result;
}

void ResidencyTable::Fail(CopyId id, bool stuck) {
  absl::MutexLock lock(&mu_);
  Record& record = At(id);
  Move(record, ResidencyState::kFailed);
  record.info.stuck = stuck;
  ++change_count_;  // who waits for it must decide anew
}

void ResidencyTable::SetLeftBytes(CopyId id, uint64_t bytes) {
  absl::MutexLock lock(&mu_);
  At(id).info.allocated_bytes = bytes;
  ++change_count_;
}

void ResidencyTable::DemotionEnded(CopyId id) {
  absl::MutexLock lock(&mu_);
  Move(At(id), ResidencyState::kEvicting);
}

void ResidencyTable::Freed(CopyId id) {
  absl::MutexLock lock(&mu_);
  Move(At(id), ResidencyState::kGone);
  records_.erase(id);
  ++change_count_;
}

absl::Status ResidencyTable::CheckMayEvict(const std::string& model, const CopyInfo& info) {
  if (info.lease_count > 0) {
    return ErrorWithReason(
        absl::StatusCode::kFailedPrecondition, Reason::kModelLeased,
        absl::StrCat(model, " is held by ", info.lease_count, " leases on ", info.device),
        {{"leases", absl::StrCat(info.lease_count)}});
  }
  if (info.hold_count > 0) {
    return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kModelBusy,
                           absl::StrCat(model, " is being copied from ", info.device));
  }
  if (info.pinned) {
    return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kModelBusy,
                           absl::StrCat(model, " is pinned on ", info.device, "; unpin it first"));
  }
  return absl::OkStatus();
}

absl::StatusOr<EvictPlan> ResidencyTable::Evict(const ModelRef& ref, const std::string& device,
                                                bool force) {
  absl::MutexLock lock(&mu_);
  AwaitBriefHolds();
  const std::vector<Record*> found = Find(ref, device);
  if (found.empty()) return NotFound(ref, device);
  EvictPlan plan;
  for (Record* record : found) {
    if (force) {
      TakePinsOff(record->info);
    } else if (absl::Status refused = CheckMayEvict(ToString(ref), Told(*record)); !refused.ok()) {
      return refused;
    }
  }
  for (Record* record : found) {
    if (record->info.is_held()) {
      Move(*record, ResidencyState::kRevoking);
      plan.revoking.push_back(Told(*record));
    } else {
      plan.doomed.push_back(Doom(*record, EvictReason::kOperator, "requested",
                                 /*demote=*/!device.empty()));
    }
  }
  return plan;
}

std::vector<Doomed> ResidencyTable::EvictAll() {
  absl::MutexLock lock(&mu_);
  std::vector<Doomed> doomed;
  for (auto& [id, record] : records_) {
    if (record.info.state == ResidencyState::kResident && !record.info.is_held()) {
      doomed.push_back(Doom(record, EvictReason::kShutdown, "shutdown"));
    }
  }
  return doomed;
}

}  // namespace weightd
