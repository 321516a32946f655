#include "daemon/residency/event.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace weightd {
namespace {

void AddText(std::vector<LogField>& fields, const char* key, const std::string& value) {
  if (!value.empty()) fields.push_back({key, value});
}

void AddNumber(std::vector<LogField>& fields, const char* key, uint64_t value) {
  if (value != 0) fields.push_back({key, value});
}

std::string RevisionText(const std::string& revision) {
  return revision.empty() ? "" : absl::StrCat("revision=", revision);
}

}  // namespace

absl::string_view EventTypeName(EventType type) {
  switch (type) {
    case EventType::kStageStarted:
      return "stage_started";
    case EventType::kStageDone:
      return "stage_done";
    case EventType::kStageFailed:
      return "stage_failed";
    case EventType::kEvicted:
      return "evicted";
    case EventType::kPinned:
      return "pinned";
    case EventType::kUnpinned:
      return "unpinned";
    case EventType::kLeaseGranted:
      return "lease_granted";
    case EventType::kLeaseEnded:
      return "lease_ended";
    case EventType::kAttachRefused:
      return "attach_refused";
    case EventType::kDrainStarted:
      return "drain_started";
    case EventType::kStageRefused:
      return "stage_refused";
    case EventType::kDemoted:
      return "demoted";
    case EventType::kLeaseRevoked:
      return "lease_revoked";
    case EventType::kSuperseded:
      return "superseded";
    case EventType::kModelAdded:
      return "model_added";
    case EventType::kModelChanged:
      return "model_changed";
    case EventType::kModelRemoved:
      return "model_removed";
    case EventType::kVerified:
      return "verified";
    case EventType::kDamaged:
      return "damaged";
    case EventType::kDemotionFailed:
      return "demotion_failed";
  }
  return "unknown";
}

std::vector<LogField> EventFields(const Event& event) {
  std::vector<LogField> fields;
  AddText(fields, "model", event.model);
  AddText(fields, "device", event.device);
  AddNumber(fields, "bytes", event.bytes);
  AddNumber(fields, "generation", event.generation_id);
  AddNumber(fields, "job", event.job_id);
  AddNumber(fields, "lease", event.lease_id);
  const bool has_peer = event.pid != 0 || event.lease_id != 0;
  if (has_peer) {
    fields.push_back({"pid", static_cast<uint64_t>(event.pid)});
    fields.push_back({"uid", uint64_t{event.uid}});
  }
  AddNumber(fields, "duration_us",
            static_cast<uint64_t>(std::max<int64_t>(absl::ToInt64Microseconds(event.duration), 0)));
  AddText(fields, "reason", event.reason);
  AddText(fields, "detail", event.detail);
  return fields;
}

EventCopy ToEventCopy(const CopyInfo& info) {
  return {.model = info.model,
          .device = info.device,
          .generation = info.id,
          .bytes = info.allocated_bytes};
}

EventCopy ToEventCopy(const CopyContent& content) {
  return {.model = content.model,
          .device = content.device.id,
          .generation = content.id,
          .bytes = content.allocated_bytes};
}

Event::Event(EventType of_type, const EventCopy& copy)
    : type(of_type),
      model(copy.model),
      device(copy.device),
      generation_id(copy.generation.value()),
      bytes(copy.bytes) {}

Event::Event(EventType of_type, const EventJob& job)
    : type(of_type), model(job.model), device(job.device), job_id(job.job.value()) {}

Event::Event(EventType of_type, const EventLease& lease)
    : type(of_type),
      model(lease.copy.model),
      device(lease.copy.device),
      generation_id(lease.copy.generation.value()),
      lease_id(lease.lease_id),
      pid(lease.peer.pid),
      uid(lease.peer.uid) {}

void Event::SetError(const absl::Status& status) {
  reason = std::string(ReasonWord(status));
  detail = std::string(status.message());
}

Event Event::StageStarted(const EventJob& job) { return Event(EventType::kStageStarted, job); }

Event Event::StageDone(const EventCopy& copy, JobId job, std::string how) {
  Event event(EventType::kStageDone, copy);
  event.job_id = job.value();
  event.detail = std::move(how);
  return event;
}

Event Event::AlreadyResident(const EventCopy& copy, JobId job) {
  Event event = StageDone(copy, job, "already resident");
  event.bytes = 0;
  return event;
}

Event Event::StageFailed(const EventJob& job, const absl::Status& status) {
  Event event(EventType::kStageFailed, job);
  event.SetError(status);
  return event;
}

Event Event::StageRefused(const EventJob& job, const absl::Status& status) {
  Event event(EventType::kStageRefused, job);
  event.SetError(status);
  return event;
}

Event Event::StageRefused(std::string model, std::string devices, EventPeer peer,
                          const absl::Status& status) {
  Event event = StageRefused(
      EventJob{.model = std::move(model), .device = std::move(devices), .job = JobId()}, status);
  event.pid = peer.pid;
  event.uid = peer.uid;
  return event;
}

Event Event::Evicted(const EventCopy& copy, absl::string_view reason, std::string why) {
  Event event(EventType::kEvicted, copy);
  event.reason = std::string(reason);
  event.detail = std::move(why);
  return event;
}

Event Event::Demoted(const EventCopy& copy, absl::string_view reason, std::string why) {
  Event event(EventType::kDemoted, copy);
  event.reason = std::string(reason);
  event.detail = std::move(why);
  return event;
}

Event Event::DemotionFailed(const EventCopy& copy, const absl::Status& status) {
  Event event(EventType::kDemotionFailed, copy);
  event.SetError(status);
  return event;
}

Event Event::Pinned(const EventCopy& copy, JobId job) {
  Event event(EventType::kPinned, copy);
  event.job_id = job.value();
  return event;
}

Event Event::Unpinned(const EventCopy& copy) { return Event(EventType::kUnpinned, copy); }

Event Event::Superseded(const EventCopy& copy, GenerationId by, uint32_t leases) {
  Event event(EventType::kSuperseded, copy);
  event.bytes = 0;
  event.detail = absl::StrCat("by generation ", by.value(), ", leases ", leases);
  return event;
}

Event Event::Verified(const EventCopy& copy, uint64_t bytes_read) {
  Event event(EventType::kVerified, copy);
  event.bytes = bytes_read;
  return event;
}

Event Event::Damaged(const EventCopy& copy, uint64_t bytes_read, std::string what) {
  Event event(EventType::kDamaged, copy);
  event.bytes = bytes_read;
  event.reason = std::string(ReasonName(Reason::kIntegrityFailed));
  event.detail = std::move(what);
  return event;
}

Event Event::LeaseGranted(const EventLease& lease, std::string client_name, JobId job,
                          absl::Duration waited) {
  Event event(EventType::kLeaseGranted, lease);
  event.job_id = job.value();
  event.detail = std::move(client_name);
  event.duration = waited;
  return event;
}

Event Event::LeaseEnded(const EventLease& lease, absl::string_view reason, std::string why,
                        absl::Duration held) {
  Event event(EventType::kLeaseEnded, lease);
  event.reason = std::string(reason);
  event.detail = std::move(why);
  event.duration = held;
  return event;
}

Event Event::LeaseRevoked(const EventLease& lease, std::string why, absl::Duration held) {
  Event event(EventType::kLeaseRevoked, lease);
  event.reason = std::string(ReasonName(Reason::kLeaseRevoked));
  event.detail = std::move(why);
  event.duration = held;
  return event;
}

Event Event::AttachRefused(const EventJob& job, EventPeer peer, const absl::Status& status) {
  Event event(EventType::kAttachRefused, job);
  event.pid = peer.pid;
  event.uid = peer.uid;
  event.SetError(status);
  return event;
}

Event Event::DrainStarted(uint32_t leases) {
  Event event(EventType::kDrainStarted);
  event.detail = absl::StrCat("leases=", leases);
  return event;
}

Event Event::ModelAdded(std::string model, uint64_t bytes, const std::string& revision) {
  Event event(EventType::kModelAdded);
  event.model = std::move(model);
  event.bytes = bytes;
  event.detail = RevisionText(revision);
  return event;
}

Event Event::ModelChanged(std::string model, uint64_t bytes, const std::string& revision) {
  Event event = ModelAdded(std::move(model), bytes, revision);
  event.type = EventType::kModelChanged;
  return event;
}

Event Event::ModelRemoved(std::string model, uint64_t bytes, const std::string& revision) {
  Event event = ModelAdded(std::move(model), bytes, revision);
  event.type = EventType::kModelRemoved;
  return event;
}

}  // namespace weightd
