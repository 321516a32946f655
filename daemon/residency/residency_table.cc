#include "daemon/residency/residency_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/errors.h"
#include "common/format_units.h"

namespace weightd {
namespace {

absl::Status NotResident(const std::string& model, const std::string& device) {
  return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kModelNotResident,
                         absl::StrCat(model, " is not resident", device.empty() ? "" : " on ",
                                      device, "; stage it first"));
}

absl::Status DoesNotFit(const std::string& model, uint64_t needed, const DeviceUsage& usage) {
  return ErrorWithReason(
      absl::StatusCode::kResourceExhausted, Reason::kBudgetExceeded,
      absl::StrCat(model, " does not fit on ", usage.budget.device, ": needs ", FormatBytes(needed),
                   ", budget ", FormatBytes(usage.budget.bytes), ", leased ",
                   FormatBytes(usage.leased_bytes), ", pinned ", FormatBytes(usage.pinned_bytes),
                   ", staging ", FormatBytes(usage.staging_bytes)),
      {{"neededBytes", absl::StrCat(needed)},
       {"budgetBytes", absl::StrCat(usage.budget.bytes)},
       {"leasedBytes", absl::StrCat(usage.leased_bytes)},
       {"pinnedBytes", absl::StrCat(usage.pinned_bytes)},
       {"stagingBytes", absl::StrCat(usage.staging_bytes)}});
}

// Its memory is on its way back, and nobody can stop that.
bool IsGoing(const GenerationInfo& info) {
  return info.state == ResidencyState::kEvicting || info.state == ResidencyState::kFailed;
}

bool MayGo(const GenerationInfo& info) {
  return info.state == ResidencyState::kResident && info.lease_count == 0 && !info.pinned;
}

}  // namespace

ResidencyTable::ResidencyTable(const std::vector<DeviceBudget>& budgets) : budgets_(budgets) {}

ResidencyTable::Record& ResidencyTable::At(GenerationId id) {
  const auto found = records_.find(id);
  WEIGHTD_CHECK(found != records_.end());
  return found->second;
}

void ResidencyTable::Move(Record& record, ResidencyState to) {
  WEIGHTD_CHECK(CanMove(record.info.state, to));
  record.info.state = to;
}

Doomed ResidencyTable::Doom(Record& record, std::string why) {
  WEIGHTD_CHECK(record.info.lease_count == 0);
  Move(record, ResidencyState::kEvicting);
  return {.info = record.info,
          .allocation = std::exchange(record.allocation, nullptr),
          .why = std::move(why)};
}

DeviceUsage ResidencyTable::UsageOf(const DeviceBudget& budget) const {
  DeviceUsage usage{.budget = budget};
  for (const auto& [id, record] : records_) {
    const GenerationInfo& info = record.info;
    if (info.device != budget.device) continue;
    usage.used_bytes += info.allocated_bytes;
    if (info.state == ResidencyState::kStaging) usage.staging_bytes += info.allocated_bytes;
    if (info.lease_count > 0) usage.leased_bytes += info.allocated_bytes;
    if (info.pinned) usage.pinned_bytes += info.allocated_bytes;
  }
  return usage;
}

std::vector<ResidencyTable::Record*> ResidencyTable::Resident(absl::string_view model,
                                                              absl::string_view device) {
  std::vector<Record*> found;
  for (auto& [id, record] : records_) {
    const GenerationInfo& info = record.info;
    if (info.state != ResidencyState::kResident || info.superseded) continue;
    if (info.model != model) continue;
    if (!device.empty() && info.device != device) continue;
    found.push_back(&record);
  }
  return found;
}

uint64_t ResidencyTable::GoingBytes(const std::string& device) const {
  uint64_t bytes = 0;
  for (const auto& [id, record] : records_) {
    if (record.info.device == device && IsGoing(record.info)) bytes += record.info.allocated_bytes;
  }
  return bytes;
}

std::vector<ResidencyTable::Record*> ResidencyTable::EvictionOrder(const std::string& device) {
  std::vector<Record*> order;
  for (auto& [id, record] : records_) {
    if (record.info.device == device && MayGo(record.info)) order.push_back(&record);
  }
  std::stable_sort(order.begin(), order.end(), [](const Record* a, const Record* b) {
    return a->info.last_use < b->info.last_use;
  });
  return order;
}

absl::StatusOr<Admission> ResidencyTable::Admit(const std::string& model, const std::string& device,
                                                uint64_t bytes) {
  const auto budget =
      std::find_if(budgets_.begin(), budgets_.end(),
                   [&](const DeviceBudget& candidate) { return candidate.device == device; });
  WEIGHTD_CHECK(budget != budgets_.end());

  absl::MutexLock lock(&mu_);
  const DeviceUsage usage = UsageOf(*budget);
  const uint64_t free = budget->bytes - usage.used_bytes;
  Admission admission;
  admission.freed_count = freed_count_;
  if (bytes <= free) {
    admission.id = GenerationId(next_id_++);
    GenerationInfo& info = records_[admission.id].info;
    info.id = admission.id;
    info.model = model;
    info.device = device;
    info.device_kind = budget->kind;
    info.allocated_bytes = bytes;
    return admission;
  }
  std::vector<Record*> victims;
  uint64_t found = free + GoingBytes(device);
  for (Record* record : EvictionOrder(device)) {
    if (found >= bytes) break;
    found += record->info.allocated_bytes;
    victims.push_back(record);
  }
  if (found < bytes) return DoesNotFit(model, bytes, usage);
  for (Record* record : victims) {
    admission.victims.push_back(Doom(*record, absl::StrCat("room for ", model)));
  }
  return admission;
}

void ResidencyTable::AwaitFreed(const Admission& admission, absl::Duration timeout) const {
  absl::MutexLock lock(&mu_);
  const auto freed = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return freed_count_ != admission.freed_count;
  };
  mu_.AwaitWithTimeout(absl::Condition(&freed), timeout);
}

std::vector<Doomed> ResidencyTable::Publish(GenerationId id,
                                            std::shared_ptr<const GenerationContent> content,
                                            std::shared_ptr<Allocation> allocation, bool pin,
                                            absl::Time now) {
  absl::MutexLock lock(&mu_);
  Record& record = At(id);
  std::vector<Doomed> doomed;
  for (Record* old : Resident(record.info.model, record.info.device)) {
    pin = pin || old->info.pinned;
    old->info.pinned = false;
    old->info.superseded = true;
    old->superseded_by = id;
    if (old->info.lease_count == 0) doomed.push_back(Doom(*old, "superseded"));
  }
  Move(record, ResidencyState::kResident);
  record.info.content = std::move(content);
  record.info.pinned = pin;
  record.info.last_use = now;
  record.allocation = std::move(allocation);
  return doomed;
}

void ResidencyTable::Fail(GenerationId id) {
  absl::MutexLock lock(&mu_);
  Move(At(id), ResidencyState::kFailed);
}

void ResidencyTable::Freed(GenerationId id) {
  absl::MutexLock lock(&mu_);
  Move(At(id), ResidencyState::kGone);
  records_.erase(id);
  ++freed_count_;
}

absl::StatusOr<std::vector<Doomed>> ResidencyTable::Evict(const std::string& model,
                                                          const std::string& device) {
  absl::MutexLock lock(&mu_);
  const std::vector<Record*> resident = Resident(model, device);
  if (resident.empty()) return NotResident(model, device);
  for (const Record* record : resident) {
    if (record->info.lease_count > 0) {
      return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kModelLeased,
                             absl::StrCat(model, " is held by ", record->info.lease_count,
                                          " leases on ", record->info.device),
                             {{"leases", absl::StrCat(record->info.lease_count)}});
    }
    if (record->info.pinned) {
      return ErrorWithReason(
          absl::StatusCode::kFailedPrecondition, Reason::kModelBusy,
          absl::StrCat(model, " is pinned on ", record->info.device, "; unpin it first"));
    }
  }
  std::vector<Doomed> doomed;
  doomed.reserve(resident.size());
  for (Record* record : resident) doomed.push_back(Doom(*record, "requested"));
  return doomed;
}

std::vector<Doomed> ResidencyTable::EvictAll() {
  absl::MutexLock lock(&mu_);
  std::vector<Doomed> doomed;
  for (auto& [id, record] : records_) {
    if (record.info.state == ResidencyState::kResident && record.info.lease_count == 0) {
      doomed.push_back(Doom(record, "shutdown"));
    }
  }
  return doomed;
}

absl::StatusOr<std::vector<GenerationInfo>> ResidencyTable::SetPinned(const std::string& model,
                                                                      const std::string& device,
                                                                      bool pinned) {
  absl::MutexLock lock(&mu_);
  const std::vector<Record*> resident = Resident(model, device);
  if (resident.empty()) return NotResident(model, device);
  std::vector<GenerationInfo> changed;
  for (Record* record : resident) {
    record->info.pinned = pinned;
    changed.push_back(record->info);
  }
  return changed;
}

absl::StatusOr<HeldGeneration> ResidencyTable::Acquire(const std::string& model,
                                                       const std::string& device,
                                                       const std::string& preferred_device,
                                                       absl::Time now) {
  absl::MutexLock lock(&mu_);
  const std::vector<Record*> resident = Resident(model, device);
  if (resident.empty()) return NotResident(model, device);
  const auto preferred = std::find_if(resident.begin(), resident.end(), [&](const Record* record) {
    return record->info.device == preferred_device;
  });
  Record& record = preferred != resident.end() ? **preferred : *resident.front();
  ++record.info.lease_count;
  record.info.last_use = now;
  return HeldGeneration{.content = record.info.content, .allocation = record.allocation};
}

std::vector<Doomed> ResidencyTable::Release(GenerationId id, absl::Time now) {
  absl::MutexLock lock(&mu_);
  Record& record = At(id);
  WEIGHTD_CHECK(record.info.lease_count > 0);
  --record.info.lease_count;
  record.info.last_use = now;
  std::vector<Doomed> doomed;
  if (record.info.lease_count == 0 && record.info.superseded) {
    doomed.push_back(Doom(record, "superseded"));
  }
  return doomed;
}

std::shared_ptr<const GenerationContent> ResidencyTable::Use(
    const std::string& model, const std::string& device,
    const std::vector<FileIdentity>& identities, bool pin, absl::Time now) {
  absl::MutexLock lock(&mu_);
  for (Record* record : Resident(model, device)) {
    GenerationInfo& info = record->info;
    if (info.content->identities != identities) continue;
    info.last_use = now;
    info.pinned = info.pinned || pin;
    return info.content;
  }
  return nullptr;
}

GenerationId ResidencyTable::SupersededBy(GenerationId id) const {
  absl::MutexLock lock(&mu_);
  const auto found = records_.find(id);
  WEIGHTD_CHECK(found != records_.end());
  return found->second.superseded_by;
}

std::vector<GenerationInfo> ResidencyTable::List(const std::string& model) const {
  absl::MutexLock lock(&mu_);
  std::vector<GenerationInfo> all;
  for (const auto& [id, record] : records_) {
    if (model.empty() || record.info.model == model) all.push_back(record.info);
  }
  std::stable_sort(all.begin(), all.end(), [](const GenerationInfo& a, const GenerationInfo& b) {
    return a.model < b.model;
  });
  return all;
}

std::vector<DeviceUsage> ResidencyTable::Usage() const {
  absl::MutexLock lock(&mu_);
  std::vector<DeviceUsage> all;
  for (const DeviceBudget& budget : budgets_) all.push_back(UsageOf(budget));
  return all;
}

}  // namespace weightd
