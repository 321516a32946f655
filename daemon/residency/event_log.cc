#include "daemon/residency/event_log.h"

#include <algorithm>
#include <utility>

#include "common/status_macros.h"

namespace weightd {
namespace {

size_t BytesOf(const Event& event) {
  return sizeof(Event) + event.model.size() + event.device.size() + event.reason.size() +
         event.detail.size();
}

}  // namespace

EventLog::EventLog(const Clock& clock, Watcher write_line, const Limits& limits,
                   std::function<void(uint64_t events)> tell_dropped)
    : clock_(clock),
      write_line_(std::move(write_line)),
      limits_(limits),
      tell_dropped_(std::move(tell_dropped)) {}

EventLog::~EventLog() {
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  thread_.Join();
}

absl::Status EventLog::Start() {
  ASSIGN_OR_RETURN(thread_, Thread::Start("events", [this] { Run(); }));
  return absl::OkStatus();
}

void EventLog::Publish(Event event) {
  const absl::Time now = clock_.Now();
  const bool always_told = event.type == EventType::kDrainStarted;
  const size_t bytes = BytesOf(event);
  const auto published = std::make_shared<Event>(std::move(event));
  std::vector<Shared> forgotten;  // goes after the lock
  absl::MutexLock lock(&mu_);
  published->sequence = next_sequence_++;
  last_time_ = std::max(last_time_, now);  // two threads may come in the other order
  published->time = last_time_;
  Keep(published, forgotten);
  const bool fits =
      waiting_.size() < limits_.waiting_max && waiting_bytes_ + bytes <= limits_.waiting_bytes_max;
  if (!fits && !always_told) {
    ++dropped_;
    return;
  }
  waiting_.push_back(published);
  waiting_bytes_ += bytes;
}

void EventLog::Keep(const Shared& event, std::vector<Shared>& forgotten) {
  kept_.push_back(event);
  kept_bytes_ += BytesOf(*event);
  while (kept_.size() > limits_.kept_max || kept_bytes_ > limits_.kept_bytes_max) {
    kept_bytes_ -= BytesOf(*kept_.front());
    forgotten.push_back(std::move(kept_.front()));
    kept_.pop_front();
  }
}

uint64_t EventLog::Watch(Watcher watcher) {
  return Add(/*each=*/true,
             [watcher = std::move(watcher)](const Shared& event) { watcher(*event); });
}

uint64_t EventLog::Follow(std::function<void()> on_news) {
  return Add(/*each=*/false, [on_news = std::move(on_news)](const Shared&) { on_news(); });
}

uint64_t EventLog::Add(bool each, Outbox<Shared>::Listener listener) {
  absl::MutexLock lock(&mu_);
  const uint64_t id = next_watcher_++;
  watching_[id] = std::make_shared<Watching>(each, next_sequence_, std::move(listener));
  return id;
}

void EventLog::Unwatch(uint64_t id) {
  std::shared_ptr<Watching> watching;
  {
    absl::MutexLock lock(&mu_);
    const auto found = watching_.find(id);
    if (found == watching_.end()) return;
    watching = std::move(found->second);
    watching_.erase(found);
  }
  watching->outbox.Stop();
}

std::shared_ptr<const Event> EventLog::Next(uint64_t after) const {
  absl::MutexLock lock(&mu_);
  if (kept_.empty() || kept_.back()->sequence <= after) return nullptr;
  const uint64_t first = kept_.front()->sequence;
  return after < first ? kept_.front() : kept_[after + 1 - first];
}

uint64_t EventLog::SequenceBefore(uint32_t count) const {
  absl::MutexLock lock(&mu_);
  return next_sequence_ - 1 - std::min<uint64_t>(count, kept_.size());
}

bool EventLog::TakeBatch(Batch& batch) {
  absl::MutexLock lock(&mu_);
  if (telling_ || waiting_.empty()) return false;
  telling_ = true;
  batch.events.swap(waiting_);
  waiting_bytes_ = 0;
  batch.dropped = std::exchange(dropped_, 0);
  batch.last = next_sequence_ - 1;
  batch.watching.reserve(watching_.size());
  for (const auto& [id, watching] : watching_) batch.watching.push_back(watching);
  return true;
}

void EventLog::Tell(const Batch& batch) const {
  for (const Shared& event : batch.events) {
    if (write_line_) write_line_(*event);
    for (const std::shared_ptr<Watching>& watching : batch.watching) {
      if (!watching->each || event->sequence < watching->from) continue;
      watching->outbox.Put(event);
      watching->outbox.Deliver();
    }
  }
  for (const std::shared_ptr<Watching>& watching : batch.watching) {
    if (watching->each) continue;
    watching->outbox.PutLatest(batch.events.back());
    watching->outbox.Deliver();
  }
  if (batch.dropped > 0 && tell_dropped_) tell_dropped_(batch.dropped);
}

void EventLog::Deliver() {
  while (true) {
    Batch batch;
    if (!TakeBatch(batch)) return;
    Tell(batch);
    absl::MutexLock lock(&mu_);
    telling_ = false;
    told_ = batch.last;
  }
}

bool EventLog::Settle(absl::Duration timeout) {
  if (!thread_.joinable()) Deliver();
  absl::MutexLock lock(&mu_);
  const uint64_t last = next_sequence_ - 1;
  const auto told = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return told_ >= last || (waiting_.empty() && !telling_);
  };
  return mu_.AwaitWithTimeout(absl::Condition(&told), timeout);
}

void EventLog::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      const auto wakes = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
        return stops_ || !waiting_.empty();
      };
      mu_.Await(absl::Condition(&wakes));
      if (waiting_.empty()) return;
    }
    Deliver();
  }
}

}  // namespace weightd
