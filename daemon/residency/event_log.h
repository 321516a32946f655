#ifndef WEIGHTD_DAEMON_RESIDENCY_EVENT_LOG_H_
#define WEIGHTD_DAEMON_RESIDENCY_EVENT_LOG_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/outbox.h"
#include "common/thread.h"
#include "daemon/residency/event.h"

// What happened, once each: every change of state is one event, which is kept for a while, sent to
// whoever watches, and written to the log as one line with the same ids.

namespace weightd {

// How much an EventLog keeps.
struct EventLogLimits {
  // For those who come late or read slowly.
  size_t kept_max = 4096;
  size_t kept_bytes_max = size_t{16} << 20;
  // Published and not told yet. What comes beyond is told to nobody; it is kept like any other, and
  // counted. The end of the daemon is always told.
  size_t waiting_max = 65536;
  size_t waiting_bytes_max = size_t{64} << 20;
};

// Takes events from whoever changes something and tells them to those who want to know. To publish
// waits for nobody: what an event leads to (the line in the log, a watcher) happens on a thread of
// the log's own, in order, with no lock held.
//
// Thread-safe.
class EventLog {
 public:
  using Watcher = std::function<void(const Event&)>;
  using Limits = EventLogLimits;

  // `write_line` gets each event after it has its sequence and time: the daemon's logger.
  // `tell_dropped`: so many events were told to nobody.
  EventLog(const Clock& clock, Watcher write_line, const Limits& limits = Limits(),
           std::function<void(uint64_t events)> tell_dropped = nullptr);
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;
  // Tells what was published.
  ~EventLog();

  // From here on a thread tells; without it, those who call Deliver() do.
  absl::Status Start();

  // Sets sequence and time.
  void Publish(Event event);

  // Calls `watcher` for each event that is published from now on, in order: it must not block.
  // Returns an id for Unwatch().
  uint64_t Watch(Watcher watcher);
  // Calls `on_news` when there is something for Next(), once for several events: for those who take
  // them at their own pace.
  uint64_t Follow(std::function<void()> on_news);
  // When this returns, the watcher is not called any more. It may call this itself.
  void Unwatch(uint64_t id);

  // The first kept event after the one with that sequence; null if there is none yet. A gap in the
  // sequence is what was forgotten meanwhile.
  std::shared_ptr<const Event> Next(uint64_t after) const;
  // The sequence after which the last `count` kept events come.
  uint64_t SequenceBefore(uint32_t count) const;

  // Tells what waits, unless another thread is at it.
  void Deliver();
  // Returns when what was published before is told, or at the time-out: then false.
  bool Settle(absl::Duration timeout);

 private:
  using Shared = std::shared_ptr<const Event>;
  struct Watching {
    Watching(bool of_each, uint64_t from_sequence, Outbox<Shared>::Listener listener)
        : each(of_each), from(from_sequence), outbox(std::move(listener)) {}
    const bool each;      // else of news alone
    const uint64_t from;  // the first sequence that it is told
    Outbox<Shared> outbox;
  };
  struct Batch {
    std::deque<Shared> events;
    std::vector<std::shared_ptr<Watching>> watching;
    uint64_t dropped = 0;
    uint64_t last = 0;  // sequence
  };

  uint64_t Add(bool each, Outbox<Shared>::Listener listener);
  void Keep(const Shared& event, std::vector<Shared>& forgotten) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool TakeBatch(Batch& batch);
  void Tell(const Batch& batch) const;
  void Run();

  const Clock& clock_;        // fixed at construction
  const Watcher write_line_;  // likewise, as the next two are
  const Limits limits_;
  const std::function<void(uint64_t)> tell_dropped_;

  mutable absl::Mutex mu_;  // never held while anybody is called
  uint64_t next_sequence_ ABSL_GUARDED_BY(mu_) = 1;
  absl::Time last_time_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  uint64_t next_watcher_ ABSL_GUARDED_BY(mu_) = 1;
  std::deque<Shared> kept_ ABSL_GUARDED_BY(mu_);
  size_t kept_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<Shared> waiting_ ABSL_GUARDED_BY(mu_);
  size_t waiting_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t dropped_ ABSL_GUARDED_BY(mu_) = 0;  // not told of yet
  uint64_t told_ ABSL_GUARDED_BY(mu_) = 0;     // sequence of the last event that everybody knows
  bool telling_ ABSL_GUARDED_BY(mu_) = false;
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  std::map<uint64_t, std::shared_ptr<Watching>> watching_ ABSL_GUARDED_BY(mu_);
  Thread thread_;  // last: it uses the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_EVENT_LOG_H_
