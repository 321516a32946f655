#include "daemon/catalog/catalog_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/storage/steady_time.h"

namespace weightd {
namespace {

// Hints come by the hundred while somebody copies: not one look for each.
constexpr absl::Duration kGapMin = absl::Milliseconds(100);
constexpr int kNotifiedScanFactor = 10;

}  // namespace

absl::Status CatalogWatchOptions::Validate() const {
  if (scan_interval < absl::Seconds(1) || scan_interval > absl::Hours(24)) {
    return absl::InvalidArgumentError(absl::StrCat("catalog.scan_interval_ms is ",
                                                   absl::ToInt64Milliseconds(scan_interval),
                                                   ", wanted 1000 to 86400000"));
  }
  if (settle < absl::ZeroDuration() || settle > absl::Minutes(10)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "catalog.settle_ms is ", absl::ToInt64Milliseconds(settle), ", wanted at most 600000"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CatalogWatcher>> CatalogWatcher::Start(
    const CatalogWatchOptions& options, const Catalog& catalog,
    const std::vector<std::shared_ptr<Volume>>& volumes, uint32_t depth_max, Listener listener) {
  std::unique_ptr<CatalogWatcher> watcher(
      new CatalogWatcher(options, catalog, std::move(listener)));
  watcher->stop_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
  if (!watcher->stop_.valid()) return PosixError(errno, "eventfd");
  watcher->WatchRoots(volumes, depth_max);
  try {
    watcher->thread_ = std::thread([raw = watcher.get()] { raw->Run(); });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("start the catalog's watcher: ", error.code().message(),
                     "; raise the limit of processes (pids.max, ulimit -u)"));
  }
  return watcher;
}

void CatalogWatcher::Stop() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  while (::write(stop_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
  thread_.join();
}

void CatalogWatcher::WatchRoots(const std::vector<std::shared_ptr<Volume>>& volumes,
                                uint32_t depth_max) {
  absl::MutexLock lock(&mu_);
  for (const auto& volume : volumes) {
    auto watch = TreeWatch::Create(volume->root(), volume->file_system(), {.depth_max = depth_max});
    roots_.push_back({.root = volume->root(),
                      .notified = watch.ok(),
                      .reason = std::string(watch.status().message())});
    watches_.push_back(watch.ok() ? *std::move(watch) : nullptr);
  }
}

std::vector<RootWatchInfo> CatalogWatcher::roots() const {
  absl::MutexLock lock(&mu_);
  return roots_;
}

absl::Duration CatalogWatcher::ScanInterval() const {
  absl::MutexLock lock(&mu_);
  const bool all_notified = std::all_of(roots_.begin(), roots_.end(),
                                        [](const RootWatchInfo& info) { return info.notified; });
  return all_notified ? options_.scan_interval * kNotifiedScanFactor : options_.scan_interval;
}

void CatalogWatcher::Run() {
  Look(SteadyNow());
  absl::Time last_look = SteadyNow();
  bool hinted = false;
  while (true) {
    absl::Time due = last_look + ScanInterval();
    if (const auto settled = diff_.next_look()) due = std::min(due, *settled);
    if (hinted) due = std::min(due, last_look + kGapMin);
    if (!Wait(due)) return;
    hinted = TakeHints() || hinted;
    const absl::Time now = SteadyNow();
    if (now < due && !(hinted && now >= last_look + kGapMin)) continue;
    Look(now);
    last_look = SteadyNow();
    hinted = false;
  }
}

void CatalogWatcher::Look(absl::Time now) {
  const absl::StatusOr<std::vector<Checkpoint>> checkpoints = catalog_.List();
  if (!checkpoints.ok()) {
    if (!failing_) listener_.on_failure(checkpoints.status());
    failing_ = true;
    return;
  }
  failing_ = false;
  const std::vector<CatalogChange> changes = diff_.Look(*checkpoints, now);
  if (!std::exchange(looked_, true)) listener_.on_first_look(*checkpoints);
  if (!changes.empty()) listener_.on_changes(changes);
}

bool CatalogWatcher::Wait(absl::Time due) {
  std::vector<pollfd> fds = {{.fd = stop_.get(), .events = POLLIN, .revents = 0}};
  for (const auto& watch : watches_) {
    if (watch != nullptr)
      fds.push_back({.fd = watch->descriptor(), .events = POLLIN, .revents = 0});
  }
  const absl::Duration timeout = std::max(due - SteadyNow(), absl::ZeroDuration());
  // Rounded up: a wait of 0 ms would spin until the time has come.
  const int64_t timeout_ms = absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1)));
  (void)::poll(fds.data(), fds.size(), static_cast<int>(timeout_ms));
  return (fds.front().revents & POLLIN) == 0;
}

bool CatalogWatcher::TakeHints() {
  bool any = false;
  for (size_t i = 0; i < watches_.size(); ++i) {
    if (watches_[i] == nullptr) continue;
    const absl::StatusOr<bool> hinted = watches_[i]->Take();
    any = any || !hinted.ok() || *hinted;
    if (hinted.ok()) continue;
    watches_[i] = nullptr;
    absl::MutexLock lock(&mu_);
    roots_[i].notified = false;
    roots_[i].reason = std::string(hinted.status().message());
  }
  return any;
}

}  // namespace weightd
