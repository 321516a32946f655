#include "daemon/main/watchdog.h"

#include <utility>

#include "common/status_macros.h"

namespace weightd {
namespace {

// sd_watchdog_enabled(3) recommends half of the time that the manager waits; a third leaves room
// for a probe that takes long on a busy machine.
constexpr int kProbesPerInterval = 3;

}  // namespace

absl::StatusOr<std::unique_ptr<Watchdog>> Watchdog::Start(
    const ServiceManager& manager, Probe probe,
    std::function<void(const absl::Status&)> on_failure) {
  std::unique_ptr<Watchdog> watchdog(
      new Watchdog(manager, std::move(probe), std::move(on_failure)));
  if (manager.watchdog() <= absl::ZeroDuration()) return watchdog;
  ASSIGN_OR_RETURN(watchdog->thread_,
                   Thread::Start("watchdog", [raw = watchdog.get()] { raw->Run(); }));
  return watchdog;
}

Watchdog::Watchdog(const ServiceManager& manager, Probe probe,
                   std::function<void(const absl::Status&)> on_failure)
    : manager_(manager), probe_(std::move(probe)), on_failure_(std::move(on_failure)) {}

Watchdog::~Watchdog() { Stop(); }

void Watchdog::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  thread_.Join();
}

void Watchdog::Run() {
  bool failing = false;
  while (true) {
    const absl::StatusOr<std::string> state = probe_();
    if (state.ok()) manager_.Alive(*state);
    if (!state.ok() && !failing) on_failure_(state.status());
    failing = !state.ok();
    absl::MutexLock lock(&mu_);
    if (mu_.AwaitWithTimeout(absl::Condition(&stops_), manager_.watchdog() / kProbesPerInterval)) {
      return;
    }
  }
}

}  // namespace weightd
