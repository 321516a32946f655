#include "daemon/residency/residency_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr absl::Duration kBriefHoldMax = absl::Seconds(2);

bool Names(const ModelRef& ref, const CopyInfo& info) {
  if (info.model != ref.model) return false;
  if (ref.generation.has_value()) return info.id.value() == *ref.generation;
  if (info.superseded) return false;
  return NamesRevision(ref.revision, info);
}

std::string OnDevice(const std::string& device) {
  return device.empty() ? "" : absl::StrCat(" on ", device);
}

}  // namespace

absl::Status DamagedError(const std::string& model, const std::string& device) {
  return ErrorWithReason(
      absl::StatusCode::kFailedPrecondition, Reason::kIntegrityFailed,
      absl::StrCat(
          model, OnDevice(device),
          " is damaged: its bytes are not what was staged; stage it again with --restage"));
}

absl::Status EvictedByForceError(const std::string& model, const std::string& device) {
  return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kModelBusy,
                         absl::StrCat(model, " is being evicted by force", OnDevice(device)));
}

ResidencyTable::ResidencyTable(TableOptions options, Executor& executor)
    : options_(std::move(options)), executor_(executor) {}

ResidencyTable::Record& ResidencyTable::At(CopyId id) {
  const auto found = records_.find(id);
  WEIGHTD_CHECK(found != records_.end());
  return found->second;
}

const DeviceBudget& ResidencyTable::BudgetOf(const std::string& device) const {
  const auto budget =
      std::find_if(options_.budgets.begin(), options_.budgets.end(),
                   [&](const DeviceBudget& candidate) { return candidate.device == device; });
  WEIGHTD_CHECK(budget != options_.budgets.end());
  return *budget;
}

void ResidencyTable::Move(Record& record, ResidencyState to) {
  WEIGHTD_CHECK(CanMove(record.info.state, to));
  record.info.state = to;
}

CopyInfo ResidencyTable::Told(const Record& record) const {
  CopyInfo info = record.info;
  info.pinned = IsPinned(info);
  return info;
}

DeviceUsage ResidencyTable::UsageOf(const DeviceBudget& budget) const {
  DeviceUsage usage{.budget = budget};
  for (const auto& [id, record] : records_) {
    const CopyInfo& info = record.info;
    if (info.device != budget.device) continue;
    usage.used_bytes += info.allocated_bytes;
    if (info.state == ResidencyState::kStaging) usage.staging_bytes += info.allocated_bytes;
    if (info.stuck) usage.stuck_bytes += info.allocated_bytes;
    if (info.lease_count > 0) {
      usage.leased_bytes += info.allocated_bytes;
      const bool is_to_go =
          info.state == ResidencyState::kRevoking || info.superseded || info.damaged;
      if (is_to_go) usage.outgoing_leased_bytes += info.allocated_bytes;
    }
    if (info.state == ResidencyState::kResident) {
      usage.resident_bytes += info.allocated_bytes;
      ++usage.resident_copies;
    }
    if (info.state == ResidencyState::kResident && IsPinned(info)) {
      usage.pinned_bytes += info.allocated_bytes;
    }
  }
  return usage;
}

std::vector<ResidencyTable::Record*> ResidencyTable::Find(const ModelRef& ref,
                                                          const std::string& device,
                                                          ResidencyState state) {
  std::vector<Record*> found;
  for (auto& [id, record] : records_) {
    if (record.info.state != state || !Names(ref, record.info)) continue;
    if (!device.empty() && record.info.device != device) continue;
    found.push_back(&record);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Record* a, const Record* b) { return a->info.id > b->info.id; });
  return found;
}

absl::Status ResidencyTable::NotFound(const ModelRef& ref, const std::string& device) {
  if (!Find(ref, device, ResidencyState::kRevoking).empty()) {
    return EvictedByForceError(ToString(ref), device);
  }
  return ErrorWithReason(
      absl::StatusCode::kFailedPrecondition, Reason::kModelNotResident,
      absl::StrCat(ToString(ref), " is not resident", OnDevice(device),
                   ref.generation.has_value() ? "; a generation that is gone cannot be staged, "
                                                "name the model alone"
                                              : "; stage it first"));
}

absl::StatusOr<std::vector<ResidencyTable::Record*>> ResidencyTable::FindGood(
    const ModelRef& ref, const std::string& device) {
  std::vector<Record*> found = Find(ref, device);
  if (found.empty()) return NotFound(ref, device);
  std::erase_if(found, [](const Record* record) { return record->info.damaged; });
  if (found.empty()) return DamagedError(ToString(ref), device);
  return found;
}

HeldCopy ResidencyTable::Hold(Record& record) {
  ++record.info.hold_count;
  return {.content = record.info.content, .allocation = record.allocation};
}

absl::StatusOr<HeldCopy> ResidencyTable::Acquire(const ModelRef& ref, const std::string& device,
                                                 absl::Time now) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const std::vector<Record*> found, FindGood(ref, device));
  Record& record = *found.front();
  ++record.info.lease_count;
  record.info.last_use = now;
  return HeldCopy{.content = record.info.content, .allocation = record.allocation};
}

absl::StatusOr<HeldCopy> ResidencyTable::AcquireHeld(CopyId id, absl::Time now) {
  absl::MutexLock lock(&mu_);
  Record& record = At(id);
  WEIGHTD_CHECK(record.info.hold_count > 0);
  if (record.info.state != ResidencyState::kResident) {
    return EvictedByForceError(record.info.model, record.info.device);
  }
  if (record.info.damaged) return DamagedError(record.info.model, record.info.device);
  ++record.info.lease_count;
  record.info.last_use = now;
  return HeldCopy{.content = record.info.content, .allocation = record.allocation};
}

std::vector<Doomed> ResidencyTable::Release(CopyId id, absl::Time now) {
  absl::MutexLock lock(&mu_);
  Record& record = At(id);
  WEIGHTD_CHECK(record.info.lease_count > 0);
  --record.info.lease_count;
  record.info.last_use = now;
  return DoomIfDone(record);
}

absl::StatusOr<HeldCopy> ResidencyTable::HoldAny(const ModelRef& ref) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const std::vector<Record*> found, FindGood(ref, ""));
  const GenerationId newest = found.front()->info.id;
  const auto on_host = std::find_if(found.begin(), found.end(), [&](const Record* record) {
    return record->info.id == newest && record->info.device_kind == DeviceKind::kHost;
  });
  return Hold(on_host != found.end() ? **on_host : *found.front());
}

HeldCopy ResidencyTable::HoldIdentical(const std::string& model,
                                       const std::vector<FileIdentity>& identities) {
  absl::MutexLock lock(&mu_);
  Record* best = nullptr;
  for (auto& [id, record] : records_) {
    const CopyInfo& info = record.info;
    if (info.state != ResidencyState::kResident || info.model != model) continue;
    if (info.content->identities != identities || info.damaged) continue;
    if (best == nullptr || info.device_kind == DeviceKind::kHost) best = &record;
  }
  return best == nullptr ? HeldCopy{} : Hold(*best);
}

absl::StatusOr<HeldCopy> ResidencyTable::HoldBriefly(CopyId id) {
  absl::MutexLock lock(&mu_);
  const auto may = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return brief_waiters_ == 0; };
  executor_.Await(mu_, absl::Condition(&may), absl::InfiniteDuration());
  const auto found = records_.find(id);
  if (found != records_.end() && found->second.info.state == ResidencyState::kResident) {
    ++brief_holds_;
    return Hold(found->second);
  }
  return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kModelNotResident,
                         "the copy was evicted meanwhile");
}

std::vector<Doomed> ResidencyTable::UnholdBrief(CopyId id) {
  {
    absl::MutexLock lock(&mu_);
    --brief_holds_;
  }
  return Unhold(id);
}

// They end soon; a device that does not answer must not stop everything.
void ResidencyTable::AwaitBriefHolds() {
  if (brief_holds_ == 0) return;
  const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return brief_holds_ == 0; };
  ++brief_waiters_;
  executor_.Await(mu_, absl::Condition(&none), kBriefHoldMax);
  --brief_waiters_;
}

absl::StatusOr<std::vector<CopyInfo>> ResidencyTable::ResidentOf(const ModelRef& ref,
                                                                 const std::string& device) {
  absl::MutexLock lock(&mu_);
  const std::vector<Record*> found = Find(ref, device);
  if (found.empty()) return NotFound(ref, device);
  std::vector<CopyInfo> copies;
  copies.reserve(found.size());
  for (const Record* record : found) copies.push_back(Told(*record));
  return copies;
}

void ResidencyTable::MarkDamaged(CopyId id) {
  absl::MutexLock lock(&mu_);
  const auto found = records_.find(id);
  if (found != records_.end()) found->second.info.damaged = true;
}

std::vector<Doomed> ResidencyTable::Unhold(CopyId id) {
  absl::MutexLock lock(&mu_);
  Record& record = At(id);
  WEIGHTD_CHECK(record.info.hold_count > 0);
  if (--record.info.hold_count == 0) ++change_count_;  // for who waits for holds
  return DoomIfDone(record);
}

ResidencyTable::Record* ResidencyTable::FindUsable(const UseWish& wish) {
  Record* superseded = nullptr;
  for (auto& [id, record] : records_) {
    const CopyInfo& info = record.info;
    if (info.state != ResidencyState::kResident || info.model != wish.model) continue;
    if (info.device != wish.device || info.content->identities != wish.identities) continue;
    if (info.damaged) continue;
    if (!info.superseded) return &record;
    superseded = &record;
  }
  return superseded;
}

UseResult ResidencyTable::Use(const UseWish& wish, absl::Time now) {
  absl::MutexLock lock(&mu_);
  UseResult result;
  Record* record = FindUsable(wish);
  if (record == nullptr) return result;
  CopyInfo& info = record->info;
  info.last_use = now;
  const bool did_follow = info.asked_revision.empty() && !info.host_copy && !info.superseded;
  info.host_copy = info.host_copy && wish.host_copy;
  if (wish.current) {
    info.superseded = false;
    info.superseded_by = {};
  }
  if (wish.asked_revision.empty()) info.asked_revision.clear();
  if (info.superseded && !wish.asked_revision.empty()) StopFollowing(info, wish.asked_revision);
  info.asked_as.insert(wish.asked_revision);
  // Whatever followed the volume before it does not any more.
  const bool follows = info.asked_revision.empty() && !info.host_copy && !info.superseded;
  if (follows && !did_follow) Supersede(info, /*whatever_id=*/true, result.published);
  if (wish.pin && !info.host_copy) pins_.insert({info.model, wish.asked_revision, info.device});
  ++info.hold_count;
  result.content = info.content;
  return result;
}

std::vector<std::string> ResidencyTable::DevicesOf(const ModelRef& ref) const {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> devices;
  for (const auto& [id, record] : records_) {
    if (record.info.state == ResidencyState::kResident && !record.info.damaged &&
        Names(ref, record.info)) {
      devices.push_back(record.info.device);
    }
  }
  return devices;
}

CopyInfo ResidencyTable::InfoOf(CopyId id) const {
  absl::MutexLock lock(&mu_);
  const auto found = records_.find(id);
  WEIGHTD_CHECK(found != records_.end());
  return Told(found->second);
}

bool ResidencyTable::AwaitGone(const std::vector<CopyInfo>& copies, absl::Time deadline) const {
  absl::MutexLock lock(&mu_);
  const auto gone = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return std::none_of(copies.begin(), copies.end(),
                        [&](const CopyInfo& info) ABSL_NO_THREAD_SAFETY_ANALYSIS {
                          return records_.contains(info.copy);
                        });
  };
  return executor_.Await(mu_, absl::Condition(&gone), deadline - absl::Now());
}

std::vector<CopyInfo> ResidencyTable::List(const std::string& model) const {
  absl::MutexLock lock(&mu_);
  std::vector<CopyInfo> all;
  for (const auto& [id, record] : records_) {
    if (model.empty() || record.info.model == model) all.push_back(Told(record));
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const CopyInfo& a, const CopyInfo& b) { return a.model < b.model; });
  return all;
}

std::vector<DeviceUsage> ResidencyTable::Usage() const {
  absl::MutexLock lock(&mu_);
  std::vector<DeviceUsage> all;
  for (const DeviceBudget& budget : options_.budgets) all.push_back(UsageOf(budget));
  return all;
}

}  // namespace weightd
