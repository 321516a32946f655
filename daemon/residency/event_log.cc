#include "daemon/residency/event_log.h"

#include <algorithm>
#include <utility>

namespace weightd {
namespace {

void AddText(std::vector<LogField>& fields, const char* key, const std::string& value) {
  if (!value.empty()) fields.push_back({key, value});
}

void AddNumber(std::vector<LogField>& fields, const char* key, uint64_t value) {
  if (value != 0) fields.push_back({key, value});
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

EventLog::EventLog(const Clock& clock, Watcher write_line, uint32_t kept_max)
    : clock_(clock), write_line_(std::move(write_line)), kept_max_(kept_max) {}

void EventLog::Publish(Event event) {
  absl::MutexLock lock(&mu_);
  event.sequence = next_sequence_++;
  event.time = clock_.Now();
  if (write_line_) write_line_(event);
  for (const auto& [id, watcher] : watchers_) watcher(event);
  kept_.push_back(std::move(event));
  if (kept_.size() > kept_max_) kept_.pop_front();
}

uint64_t EventLog::Watch(uint32_t replay, Watcher watcher) {
  absl::MutexLock lock(&mu_);
  const size_t count = std::min<size_t>(replay, kept_.size());
  for (size_t i = kept_.size() - count; i < kept_.size(); ++i) watcher(kept_[i]);
  const uint64_t id = next_watcher_++;
  watchers_[id] = std::move(watcher);
  return id;
}

void EventLog::Unwatch(uint64_t id) {
  absl::MutexLock lock(&mu_);
  watchers_.erase(id);
}

}  // namespace weightd
