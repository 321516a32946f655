#include "daemon/residency/evictor.h"

#include <atomic>
#include <utility>

#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
Evictor::Evictor(ResidencyTable& table, const std::vector<std::shared_ptr<Device>>& devices,
                 EventLog& events, const Clock& clock)
    : table_(table), devices_(devices), events_(events), clock_(clock) {
  for (const auto& device : devices_) {
    if (device->info().kind == DeviceKind::kHost) host_ = device.get();
  }
}

void Evictor::Free(std::vector<Doomed> doomed) { (void)FreeAndTell(std::move(doomed)); }

uint64_t Evictor::FreeAndTell(std::vector<Doomed> doomed) {
  uint64_t kept_bytes = 0;
  // First what waits for nobody: a demotion may need the room that it gives.
  for (Doomed& one : doomed) {
    if (!one.may_demote) FreeOne(one);
  }
  for (Doomed& one : doomed) {
    if (!one.may_demote) continue;
    if (Demote(one)) kept_bytes += one.info.allocated_bytes;
    table_.DemotionEnded(one.info.copy);
    FreeOne(one);
  }
  return kept_bytes;
}

void Evictor::FreeOne(Doomed& doomed) {
  doomed.allocation.reset();
  table_.Freed(doomed.info.copy);
  events_.Publish(
      Event::Evicted(ToEventCopy(doomed.info), EvictReasonName(doomed.reason), doomed.why));
}

bool Evictor::Demote(const Doomed& doomed) {
  if (host_ == nullptr || stager_ == nullptr) return false;
  const uint64_t bytes =
      AlignUp(doomed.info.content->layout->allocation_bytes, host_->allocation_granularity());
  const absl::StatusOr<CopyId> copy = TakeHostBytes(doomed, bytes);
  if (!copy.ok() || !copy->valid()) return false;
  const absl::Status filled = FillHostCopy(doomed, *copy, bytes);
  if (filled.ok()) {
    events_.Publish(
        Event::Demoted(ToEventCopy(doomed.info), EvictReasonName(doomed.reason), doomed.why));
    Free(table_.Unhold(*copy));
    return true;
  }
  table_.Fail(*copy);
  table_.Freed(*copy);
  events_.Publish(
      Event::DemotionFailed(ToEventCopy(doomed.info), Annotate(filled, "demote to the host tier")));
  return false;
}

// Not valid where the host tier has no room.
absl::StatusOr<CopyId> Evictor::TakeHostBytes(const Doomed& doomed, uint64_t bytes) {
  const CopyInfo& info = doomed.info;
  StageClaim claim;
  claim.model = info.model;
  claim.revision = info.revision;
  claim.asked_revision = info.asked_revision;
  claim.job = info.job;
  claim.generation = info.id;
  claim.places = {{.device = host_->info().id,
                   .bytes = bytes + BookedTableBytes(*info.content->manifest, *host_),
                   .host_copy = true}};
  claim.used_before = info.last_use;
  while (true) {
    ASSIGN_OR_RETURN(Admission admission, table_.Admit(claim));
    if (admission.admitted) return admission.copies.front();
    if (admission.victims.empty()) table_.AwaitChange(admission);
    Free(std::move(admission.victims));
  }
}

absl::Status Evictor::FillHostCopy(const Doomed& doomed, CopyId copy, uint64_t bytes) {
  static const std::atomic<bool> kNeverCancelled = false;
  const CopyContent& from = *doomed.info.content;
  ASSIGN_OR_RETURN(std::shared_ptr<Allocation> allocation, host_->Allocate(bytes));
  CopyInput input;
  input.from = doomed.allocation.get();
  for (const auto& device : devices_) {
    if (device->info().id == doomed.info.device) input.from_device = device.get();
  }
  input.targets = {{.device = host_, .destination = allocation.get()}};
  input.bytes = from.layout->allocation_bytes;
  input.cancelled = &kNeverCancelled;
  ASSIGN_OR_RETURN(const CopyOutcome outcome, stager_->Copy(input));
  RETURN_IF_ERROR(allocation->Seal());
  const absl::Status pinned = stager_->Pin(*host_, allocation);

  auto content = std::make_shared<CopyContent>(from);
  content->copy = copy;
  content->device = host_->info();
  content->allocated_bytes = allocation->bytes();
  content->resident_time = clock_.Now();
  content->report = {};
  content->report.job = doomed.info.job;
  content->report.source = doomed.info.device;
  content->report.copied_bytes = outcome.bytes;
  content->report.copy_time = outcome.copy_time;
  if (!pinned.ok()) content->report.fallbacks.push_back(std::string(pinned.message()));
  PublishResult published = table_.Publish(
      {{.id = copy, .content = std::move(content), .allocation = std::move(allocation)}},
      /*pin=*/false, doomed.info.last_use);
  Free(std::move(published.doomed));
  return absl::OkStatus();
}

}  // namespace weightd
