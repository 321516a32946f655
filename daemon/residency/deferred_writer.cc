#include "daemon/residency/deferred_writer.h"

#include <utility>

#include "absl/time/clock.h"

namespace weightd {

DeferredWriter::DeferredWriter(std::function<absl::Status()> write,
                               std::function<void(const absl::Status&)> on_failure,
                               absl::Duration interval, absl::Duration renewal)
    : write_(std::move(write)),
      on_failure_(std::move(on_failure)),
      interval_(interval),
      renewal_(renewal),
      thread_([this] { Run(); }) {}

DeferredWriter::~DeferredWriter() {
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  thread_.join();
}

void DeferredWriter::Changed(bool at_once) {
  absl::MutexLock lock(&mu_);
  changed_ = true;
  at_once_ = at_once_ || at_once;
}

void DeferredWriter::Run() {
  while (true) {
    bool stops = false;
    bool changed = false;
    {
      absl::MutexLock lock(&mu_);
      const auto wakes = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return at_once_ || stops_; };
      mu_.AwaitWithTimeout(absl::Condition(&wakes), interval_);
      stops = stops_;
      changed = std::exchange(changed_, false);
      at_once_ = false;
    }
    const bool is_due = absl::Now() - written_ >= renewal_;
    if ((changed || is_due) && !Write()) {
      absl::MutexLock lock(&mu_);
      changed_ = true;
    }
    if (stops) return;
  }
}

bool DeferredWriter::Write() {
  const absl::Status written = write_();
  if (!written.ok() && !failing_) on_failure_(written);
  failing_ = !written.ok();
  if (written.ok()) written_ = absl::Now();
  return written.ok();
}

}  // namespace weightd
