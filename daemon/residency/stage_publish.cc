// The end of a stage: what was filled becomes resident copies, and everybody is told.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/residency/stage_run.h"

namespace weightd {
// What all copies of this stage have in common.
CopyContent StageRun::CommonContent() {
  if (plan_.source != nullptr) {
    CopyContent common = plan_.source->content();
    common.report = report_;
    return common;
  }
  const Checkpoint& checkpoint = plan_.opened->checkpoint;
  CopyContent common;
  common.id = generation_;
  common.model = job_.model();
  common.root = checkpoint.volume->root();
  common.revision = checkpoint.revision;
  common.file_bytes = checkpoint.file_bytes;
  common.tensor_bytes = plan_.opened->manifest.tensor_bytes();
  common.manifest = std::make_shared<const Manifest>(std::move(plan_.opened->manifest));
  common.layout = layout_;
  common.digests = digests_;
  common.identities = plan_.identities;
  common.report = report_;
  return common;
}

std::shared_ptr<const CopyContent> StageRun::ContentOf(const Target& target,
                                                       const CopyContent& common) const {
  auto content = std::make_shared<CopyContent>(common);
  content->copy = target.copy;
  content->device = target.device->info();
  content->allocated_bytes = target.allocation->bytes();
  content->resident_time = context_.clock.Now();
  return content;
}

// What nobody waits for is as old as it was when the daemon before this one ended.
absl::Time StageRun::LastUse(const std::string& device) const {
  const absl::Time now = context_.clock.Now();
  if (job_.priority() >= JobPriority::kOperator) return now;
  const auto known = context_.last_uses.find({job_.model(), device});
  return known == context_.last_uses.end() ? now : std::min(known->second, now);
}

void StageRun::Settle(PublishResult result) {
  for (const CopyInfo& old : result.superseded) {
    context_.on_superseded(old, old.superseded_by);
    context_.events.Publish(
        Event::Superseded(ToEventCopy(old), old.superseded_by, old.lease_count));
  }
  context_.evictor.Free(std::move(result.doomed));
}

std::vector<std::shared_ptr<const CopyHold>> StageRun::AllHolds() const {
  std::vector<std::shared_ptr<const CopyHold>> holds;
  for (const std::string& device : job_.task().devices) {
    for (const auto& hold : present_) {
      if (hold->content().device.id == device) holds.push_back(hold);
    }
  }
  return holds;
}

void StageRun::Publish() {
  const CopyContent common = CommonContent();
  std::vector<StagedCopy> staged;
  for (const Target& target : targets_) {
    staged.push_back(
        {.id = target.copy, .content = ContentOf(target, common), .allocation = target.allocation});
  }
  StageWishes met = {.pin = job_.wishes().pin, .restage = true};
  const std::vector<StagedCopy> made = staged;
  PublishResult result = context_.table.Publish(std::move(staged), met.pin,
                                                LastUse(targets_.front().device->info().id));
  for (const StagedCopy& copy : made) {
    present_.push_back(std::make_shared<CopyHold>(
        HeldCopy{.content = copy.content, .allocation = copy.allocation}, context_.unhold));
  }
  targets_.clear();
  Settle(std::move(result));
  StageRecord record;
  record.model = job_.model();
  record.devices = job_.task().devices;
  record.end_time = context_.clock.Now();
  record.generation = common.id;
  record.report = report_;
  for (const StagedCopy& copy : made) {
    record.places.push_back({.device = copy.content->device.id,
                             .kind = copy.content->device.kind,
                             .bytes = copy.content->allocated_bytes});
  }
  context_.reports.Add(std::move(record));
  PublishDone(/*already_resident=*/false);
  while (!job_.Finish(AllHolds(), /*already_resident=*/false, met)) {
    // Somebody joined with a pin.
    met.pin = true;
    for (const std::string& device : job_.task().devices) {
      // MODEL_NOT_RESIDENT means that it is being evicted by force: then there is nothing to pin.
      (void)context_.table.SetPinned({.model = job_.model(), .generation = common.id.value()},
                                     device, true);
    }
  }
  if (met.pin) PublishPinned();
}

void StageRun::PublishDone(bool already_resident) const {
  const std::string how = absl::StrCat("source=", report_.source,
                                       " read_ms=", absl::ToInt64Milliseconds(report_.read_time),
                                       report_.engine.empty() ? "" : " engine=", report_.engine);
  for (const auto& hold : AllHolds()) {
    const EventCopy copy = ToEventCopy(hold->content());
    context_.events.Publish(already_resident ? Event::AlreadyResident(copy, job_.id())
                                             : Event::StageDone(copy, job_.id(), how));
  }
}

void StageRun::PublishPinned() const {
  for (const auto& hold : AllHolds()) {
    context_.events.Publish(Event::Pinned(ToEventCopy(hold->content()), job_.id()));
  }
}

}  // namespace weightd
