#ifndef WEIGHTD_DAEMON_RESIDENCY_EVENT_H_
#define WEIGHTD_DAEMON_RESIDENCY_EVENT_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "daemon/residency/generation.h"

// What happened, as it is told: each type means one thing, and has its factory here.

namespace weightd {

enum class EventType {
  kStageStarted,
  kStageDone,
  kStageFailed,
  kEvicted,
  kPinned,
  kUnpinned,
  kLeaseGranted,
  kLeaseEnded,
  kAttachRefused,
  kDrainStarted,
  kStageRefused,
  kDemoted,
  kLeaseRevoked,
  kSuperseded,
  kModelAdded,
  kModelChanged,
  kModelRemoved,
  kVerified,
  kDamaged,
  kDemotionFailed,
};
inline constexpr EventType kLastEventType = EventType::kDemotionFailed;
// "stage_started" and so on.
absl::string_view EventTypeName(EventType type);

// The copy that an event is about.
struct EventCopy {
  std::string model;
  std::string device;
  GenerationId generation;
  uint64_t bytes = 0;  // that it takes
};
EventCopy ToEventCopy(const CopyInfo& info);
EventCopy ToEventCopy(const CopyContent& content);

// The job that an event is about. Of several devices, their ids with commas between them.
struct EventJob {
  std::string model;
  std::string device;
  JobId job;
};

// The process at the other end of a connection.
struct EventPeer {
  int32_t pid = 0;
  uint32_t uid = 0;
};

// The lease that an event is about.
struct EventLease {
  EventCopy copy;  // its bytes are not told
  uint64_t lease_id = 0;
  EventPeer peer;
};

// Made by the factories alone; EventLog::Publish() sets sequence and time. An error is told by its
// reason's word and its message.
struct Event {
  static Event StageStarted(const EventJob& job);
  // Read, or copied from another device: `how` in words.
  static Event StageDone(const EventCopy& copy, JobId job, std::string how);
  // The job found it there, and moved no bytes.
  static Event AlreadyResident(const EventCopy& copy, JobId job);
  static Event StageFailed(const EventJob& job, const absl::Status& status);
  // It did not fit, or a limit was reached. The second is of a request that never became a job.
  static Event StageRefused(const EventJob& job, const absl::Status& status);
  static Event StageRefused(std::string model, std::string devices, EventPeer peer,
                            const absl::Status& status);

  // Its memory is free.
  static Event Evicted(const EventCopy& copy, absl::string_view reason, std::string why);
  // The host tier has a copy; its eviction from `copy`'s device follows.
  static Event Demoted(const EventCopy& copy, absl::string_view reason, std::string why);
  // The host tier failed to keep one; likewise.
  static Event DemotionFailed(const EventCopy& copy, const absl::Status& status);
  // `job`: the stage that was asked to; not valid where an operator pinned what was resident.
  static Event Pinned(const EventCopy& copy, JobId job = JobId());
  static Event Unpinned(const EventCopy& copy);
  // It is still held, by so many leases.
  static Event Superseded(const EventCopy& copy, GenerationId by, uint32_t leases);
  // Read again: so many bytes are as they were staged, or not, as `what` says.
  static Event Verified(const EventCopy& copy, uint64_t bytes_read);
  static Event Damaged(const EventCopy& copy, uint64_t bytes_read, std::string what);

  // `job`: that the attach waited for, if any; `waited`: from the request to the grant.
  static Event LeaseGranted(const EventLease& lease, std::string client_name, JobId job,
                            absl::Duration waited);
  // `held`: from the grant on.
  static Event LeaseEnded(const EventLease& lease, absl::string_view reason, std::string why,
                          absl::Duration held);
  static Event LeaseRevoked(const EventLease& lease, std::string why, absl::Duration held);
  // `job`: likewise; not valid where it had none.
  static Event AttachRefused(const EventJob& job, EventPeer peer, const absl::Status& status);

  static Event DrainStarted(uint32_t leases);

  // On the volume. `revision` may be empty.
  static Event ModelAdded(std::string model, uint64_t bytes, const std::string& revision);
  static Event ModelChanged(std::string model, uint64_t bytes, const std::string& revision);
  static Event ModelRemoved(std::string model, uint64_t bytes, const std::string& revision);

  EventType type;
  uint64_t sequence = 0;  // from 1, without gaps
  absl::Time time;
  std::string model;
  std::string device;
  uint64_t generation_id = 0;
  uint64_t job_id = 0;
  uint64_t lease_id = 0;
  uint64_t bytes = 0;
  int32_t pid = 0;
  uint32_t uid = 0;
  // Of an attach from its request to the lease, of a lease from its grant to its end; in the log.
  absl::Duration duration;
  std::string reason;  // word: why it failed, was refused, left or ended
  std::string detail;  // for people

 private:
  explicit Event(EventType of_type) : type(of_type) {}
  Event(EventType of_type, const EventCopy& copy);
  Event(EventType of_type, const EventJob& job);
  Event(EventType of_type, const EventLease& lease);
  void SetError(const absl::Status& status);
};

// One field of a log line. Times and sizes carry their unit in the key.
struct LogField {
  std::string key;
  std::variant<std::string, uint64_t> value;
};

// The event's fields without what is empty, for the log: model, device, bytes, generation, job, ...
std::vector<LogField> EventFields(const Event& event);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_EVENT_H_
