#ifndef WEIGHTD_DAEMON_RESIDENCY_EVENT_LOG_H_
#define WEIGHTD_DAEMON_RESIDENCY_EVENT_LOG_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"

// What happened, once each: every change of state is one event, which is kept for a while, sent to
// whoever watches, and written to the log as one line with the same ids.

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
};
// "stage_started" and so on.
absl::string_view EventTypeName(EventType type);

struct Event {
  uint64_t sequence = 0;  // from 1, without gaps
  absl::Time time;
  EventType type = EventType::kStageStarted;
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
};

// One field of a log line. Times and sizes carry their unit in the key.
struct LogField {
  std::string key;
  std::variant<std::string, uint64_t> value;
};

// The event's fields without what is empty, for the log: model, device, bytes, generation, job, ...
std::vector<LogField> EventFields(const Event& event);

// Thread-safe.
class EventLog {
 public:
  using Watcher = std::function<void(const Event&)>;

  // `write_line` gets each event after it has its sequence and time: the daemon's logger.
  EventLog(const Clock& clock, Watcher write_line, uint32_t kept_max = 1024);

  // Sets sequence and time.
  void Publish(Event event);

  // Calls `watcher` for the last `replay` kept events, oldest first, and then for each new one, in
  // order, on the publisher's thread: it must be quick and must not call back. Returns an id for
  // Unwatch(), after which `watcher` is not called any more.
  uint64_t Watch(uint32_t replay, Watcher watcher);
  void Unwatch(uint64_t id);

 private:
  const Clock& clock_;        // fixed at construction
  const Watcher write_line_;  // likewise
  const uint32_t kept_max_;   // likewise

  absl::Mutex mu_;  // held while watchers run: they only enqueue
  uint64_t next_sequence_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t next_watcher_ ABSL_GUARDED_BY(mu_) = 1;
  std::deque<Event> kept_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, Watcher> watchers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_EVENT_LOG_H_
