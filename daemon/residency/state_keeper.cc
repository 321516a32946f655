#include "daemon/residency/state_keeper.h"

#include <utility>

namespace weightd {

StateKeeper::StateKeeper(std::string path, std::function<SavedState()> snapshot,
                         std::function<void(const absl::Status&)> on_failure,
                         absl::Duration interval)
    : path_(std::move(path)),
      snapshot_(std::move(snapshot)),
      on_failure_(std::move(on_failure)),
      interval_(interval),
      thread_([this] { Run(); }) {}

StateKeeper::~StateKeeper() {
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  thread_.join();
}

void StateKeeper::Changed(bool at_once) {
  absl::MutexLock lock(&mu_);
  changed_ = true;
  at_once_ = at_once_ || at_once;
}

void StateKeeper::Run() {
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
    if (changed && !Store()) {
      absl::MutexLock lock(&mu_);
      changed_ = true;
    }
    if (stops) return;
  }
}

bool StateKeeper::Store() {
  const absl::Status stored = StoreSavedState(path_, snapshot_());
  if (!stored.ok() && !failing_) on_failure_(stored);
  failing_ = !stored.ok();
  return stored.ok();
}

}  // namespace weightd
