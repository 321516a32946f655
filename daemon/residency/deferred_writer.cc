#include "daemon/residency/deferred_writer.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/thread.h"

namespace weightd {
namespace {

// An attempt that takes longer hangs.
constexpr absl::Duration kHangs = absl::Seconds(5);

absl::Status HangsError(absl::Duration time) {
  return absl::DeadlineExceededError(
      absl::StrCat("writing takes ", absl::FormatDuration(absl::Trunc(time, absl::Seconds(1))),
                   " already: its volume does not answer"));
}

}  // namespace

struct DeferredWriter::Shared {
  DeferredWriterParts parts;  // fixed, as the next
  DeferredWriterOptions options;

  absl::Mutex mu;  // never held while the file is written, or a part is called
  bool changed ABSL_GUARDED_BY(mu) = false;
  bool at_once ABSL_GUARDED_BY(mu) = false;
  bool stops ABSL_GUARDED_BY(mu) = false;
  bool abandoned ABSL_GUARDED_BY(mu) = false;  // the owner is gone, or about to be
  bool in_owner ABSL_GUARDED_BY(mu) = false;   // `format` or `on_change` runs
  bool probed ABSL_GUARDED_BY(mu) = false;
  bool ended ABSL_GUARDED_BY(mu) = false;          // the thread touches nothing any more
  uint64_t flushes_asked ABSL_GUARDED_BY(mu) = 0;  // calls of Flush()
  uint64_t flushes_done ABSL_GUARDED_BY(mu) = 0;   // those that an attempt has answered
  absl::Status last ABSL_GUARDED_BY(mu);           // attempt's end
  absl::Time failing_since ABSL_GUARDED_BY(mu) = absl::InfiniteFuture();
  absl::Time storing_since ABSL_GUARDED_BY(mu) = absl::InfiniteFuture();
  absl::Time stored_time ABSL_GUARDED_BY(mu) = absl::InfinitePast();
};

absl::StatusOr<std::unique_ptr<DeferredWriter>> DeferredWriter::Start(
    DeferredWriterParts parts, DeferredWriterOptions options) {
  auto shared = std::make_shared<Shared>();
  shared->parts = std::move(parts);
  shared->options = std::move(options);
  const absl::Status started =
      Thread::StartDetached(shared->options.name, [shared] { Run(*shared); });
  if (!started.ok()) return started;
  return std::unique_ptr<DeferredWriter>(new DeferredWriter(std::move(shared)));
}

DeferredWriter::~DeferredWriter() {
  // Who wants to know why has called it.
  (void)Stop(kStopTimeout);
}

void DeferredWriter::Changed(bool at_once) {
  absl::MutexLock lock(&shared_->mu);
  shared_->changed = true;
  shared_->at_once = shared_->at_once || at_once;
}

bool DeferredWriter::AwaitProbe(absl::Duration timeout) {
  Shared& s = *shared_;
  absl::MutexLock lock(&s.mu);
  return s.mu.AwaitWithTimeout(absl::Condition(&s.probed), timeout);
}

absl::Status DeferredWriter::Flush(absl::Duration timeout) {
  Shared& s = *shared_;
  absl::MutexLock lock(&s.mu);
  if (s.stops) return absl::UnavailableError("the daemon is shutting down");
  const uint64_t own = ++s.flushes_asked;
  s.changed = true;
  s.at_once = true;
  const absl::Duration hangs = absl::Now() - s.storing_since;
  if (hangs >= timeout) return HangsError(hangs);
  const auto done = [&]() ABSL_SHARED_LOCKS_REQUIRED(s.mu) {
    return s.flushes_done >= own || s.ended;
  };
  if (!s.mu.AwaitWithTimeout(absl::Condition(&done), timeout)) return HangsError(timeout);
  if (s.flushes_done < own) return absl::UnavailableError("the daemon is shutting down");
  return s.last;
}

void DeferredWriter::BeginStop() {
  absl::MutexLock lock(&shared_->mu);
  shared_->stops = true;
}

absl::Status DeferredWriter::Stop(absl::Duration timeout) {
  Shared& s = *shared_;
  absl::MutexLock lock(&s.mu);
  s.stops = true;
  if (absl::Now() - s.storing_since >= timeout) timeout = absl::ZeroDuration();
  const bool ended = s.mu.AwaitWithTimeout(absl::Condition(&s.ended), timeout);
  s.abandoned = true;
  // These do not block.
  const auto outside = [&]() ABSL_SHARED_LOCKS_REQUIRED(s.mu) { return !s.in_owner; };
  s.mu.Await(absl::Condition(&outside));
  return ended ? s.last : HangsError(absl::Now() - s.storing_since);
}

DeferredWriter::State DeferredWriter::state() const {
  Shared& s = *shared_;
  absl::MutexLock lock(&s.mu);
  const absl::Duration storing = absl::Now() - s.storing_since;
  if (storing >= kHangs) {
    return {.error = HangsError(storing),
            .failing_since = std::min(s.failing_since, s.storing_since),
            .stored_time = s.stored_time};
  }
  return {.error = s.last, .failing_since = s.failing_since, .stored_time = s.stored_time};
}

void DeferredWriter::Run(Shared& s) {
  bool goes_on = Probe(s);
  while (goes_on) {
    bool stops = false;
    bool writes = false;
    {
      absl::MutexLock lock(&s.mu);
      const auto wakes = [&]() ABSL_SHARED_LOCKS_REQUIRED(s.mu) { return s.at_once || s.stops; };
      s.mu.AwaitWithTimeout(absl::Condition(&wakes), s.options.interval);
      stops = s.stops;
      // What was never written has nothing to renew.
      const bool is_due =
          s.stored_time > absl::InfinitePast() && absl::Now() - s.stored_time >= s.options.renewal;
      writes = s.changed || is_due;
    }
    goes_on = (!writes || Write(s)) && !stops;
  }
  absl::MutexLock lock(&s.mu);
  s.ended = true;
}

bool DeferredWriter::Write(Shared& s) {
  uint64_t flushes = 0;
  {
    absl::MutexLock lock(&s.mu);
    if (s.abandoned) return false;
    s.changed = false;
    s.at_once = false;
    flushes = s.flushes_asked;
    s.in_owner = true;
  }
  const std::string content = s.parts.format();
  {
    absl::MutexLock lock(&s.mu);
    s.in_owner = false;
    if (s.abandoned) return false;
  }
  return Attempt(
      s, [&] { return s.parts.store(content); }, flushes);
}

bool DeferredWriter::Probe(Shared& s) {
  const bool goes_on = s.parts.probe == nullptr || Attempt(s, s.parts.probe, 0);
  absl::MutexLock lock(&s.mu);
  s.probed = true;
  return goes_on;
}

bool DeferredWriter::Attempt(Shared& s, const std::function<absl::Status()>& store,
                             uint64_t flushes) {
  {
    absl::MutexLock lock(&s.mu);
    s.storing_since = absl::Now();
  }
  const absl::Status stored = store();
  {
    absl::MutexLock lock(&s.mu);
    s.storing_since = absl::InfiniteFuture();
    const bool tells = stored.ok() != s.last.ok();
    if (stored.ok()) {
      if (s.probed) s.stored_time = absl::Now();
      s.failing_since = absl::InfiniteFuture();
    } else {
      s.changed = true;
      if (s.last.ok()) s.failing_since = absl::Now();
    }
    s.last = stored;
    s.flushes_done = std::max(s.flushes_done, flushes);
    if (s.abandoned) return false;
    if (!tells) return true;
    s.in_owner = true;
  }
  s.parts.on_change(stored);
  absl::MutexLock lock(&s.mu);
  s.in_owner = false;
  return true;
}

}  // namespace weightd
