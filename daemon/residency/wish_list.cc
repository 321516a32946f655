#include "daemon/residency/wish_list.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"

namespace weightd {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);

// Whether the same request may succeed later, with nothing changed that the watcher would tell.
bool MayPass(const absl::Status& status) {
  const std::optional<Reason> reason = GetReason(status);
  if (reason == Reason::kDraining || reason == Reason::kCancelled) return false;
  return reason == Reason::kVolumeStuck || reason == Reason::kVolumeBusy ||
         reason == Reason::kReadFailed || reason == Reason::kCheckpointChanged ||
         reason == Reason::kDeviceFailed || reason == Reason::kLimitExceeded ||
         absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

absl::Status RetryOptions::Validate() const {
  if (retries_max > 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("retries_max is ", retries_max, ", wanted 0 to 1000"));
  }
  if (first_pause < absl::Seconds(1) || first_pause > absl::Hours(1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "retry_pause_ms is ", absl::ToInt64Milliseconds(first_pause), ", wanted 1000 to 3600000"));
  }
  return absl::OkStatus();
}

WishList::WishList(const RetryOptions& options, Residency& residency, const Clock& clock,
                   Listener listener)
    : options_(options), residency_(residency), clock_(clock), listener_(std::move(listener)) {}

absl::Status WishList::Start() {
  absl::StatusOr<Thread> thread = Thread::Start("wishes", [this] { Run(); });
  if (!thread.ok()) return thread.status();
  thread_ = *std::move(thread);
  return absl::OkStatus();
}

void WishList::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  thread_.Join();
}

void WishList::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
        return stops_ || !entries_.empty();
      };
      mu_.Await(absl::Condition(&has_work));
      if (mu_.AwaitWithTimeout(absl::Condition(&stops_), kLookInterval)) return;
    }
    Look();
  }
}

void WishList::Add(Wish wish) {
  wish.request.detached = true;
  if (wish.request.devices.empty()) wish.request.devices = {residency_.default_device()};
  const StageRequest request = wish.request;
  const Key key = {request.model, absl::StrJoin(request.devices, ", ")};
  uint64_t id = 0;
  {
    absl::MutexLock lock(&mu_);
    if (stops_) return;
    id = next_id_++;
    Entry& entry = entries_[key];
    entry = Entry();
    entry.wish = std::move(wish);
    entry.id = id;
  }
  Try(key, id, request);
}

void WishList::Try(const Key& key, uint64_t id, const StageRequest& request) {
  const absl::StatusOr<StageTicket> ticket = residency_.Stage(request);
  std::optional<WishNotice> notice;
  {
    absl::MutexLock lock(&mu_);
    const auto entry = entries_.find(key);
    // A newer wish has taken its place; the job goes on all the same.
    if (entry == entries_.end() || entry->second.id != id) return;
    if (ticket.ok()) {
      entry->second.job = ticket->job;
      return;
    }
    notice = Settle(key, ticket.status());
    if (!notice.has_value() && GetReason(ticket.status()) != Reason::kDraining) {
      notice = WishNotice{.kind = WishNotice::Kind::kRefused,
                          .model = request.model,
                          .status = ticket.status(),
                          .pause = absl::ZeroDuration()};
    }
  }
  if (notice.has_value()) listener_(*notice);
}

std::optional<WishNotice> WishList::Settle(const Key& key, const absl::Status& status) {
  const auto at = entries_.find(key);
  Entry& entry = at->second;
  WishNotice notice;
  notice.model = entry.wish.request.model;
  notice.status = status;
  if (status.ok() || !MayPass(status)) {
    entries_.erase(at);
    return std::nullopt;
  }
  if (entry.failures >= options_.retries_max) {
    notice.kind = WishNotice::Kind::kGivenUp;
    entries_.erase(at);
    return notice;
  }
  entry.job = nullptr;
  entry.pausing = true;
  entry.pause =
      entry.failures == 0 ? options_.first_pause : std::min(entry.pause * 2, options_.pause_max);
  entry.pause = std::max(entry.pause, options_.first_pause);
  entry.pause_start = clock_.Now();
  notice.kind = WishNotice::Kind::kRetry;
  notice.retry = ++entry.failures;
  notice.pause = entry.pause;
  return notice;
}

// A clock that was set back ends the pause: else it could last for hours.
bool WishList::IsDue(const Entry& entry, absl::Time now) const {
  return entry.pausing && (now >= entry.pause_start + entry.pause || now < entry.pause_start);
}

void WishList::Look() {
  struct Due {
    Key key;
    uint64_t id;
    Wish wish;
  };
  std::vector<Due> due;
  std::vector<WishNotice> notices;
  const absl::Time now = clock_.Now();
  {
    absl::MutexLock lock(&mu_);
    std::vector<std::pair<Key, absl::Status>> ended;
    for (auto& [key, entry] : entries_) {
      if (entry.job != nullptr && entry.job->final()) {
        ended.emplace_back(key, entry.job->snapshot().status);
      } else if (IsDue(entry, now)) {
        entry.id = next_id_++;
        entry.pausing = false;
        due.push_back({key, entry.id, entry.wish});
      }
    }
    for (const auto& [key, status] : ended) {
      if (auto notice = Settle(key, status); notice.has_value()) {
        notices.push_back(*std::move(notice));
      }
    }
  }
  for (const WishNotice& notice : notices) listener_(notice);
  for (const Due& one : due) {
    if (one.wish.wanted == nullptr || one.wish.wanted()) {
      Try(one.key, one.id, one.wish.request);
      continue;
    }
    absl::MutexLock lock(&mu_);
    const auto entry = entries_.find(one.key);
    if (entry != entries_.end() && entry->second.id == one.id) entries_.erase(entry);
  }
}

std::optional<WishList::Retry> WishList::RetryOf(const std::string& model) const {
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mu_);
  for (auto at = entries_.lower_bound({model, ""});
       at != entries_.end() && at->first.first == model; ++at) {
    const Entry& entry = at->second;
    if (!entry.pausing) continue;
    return Retry{.number = entry.failures,
                 .in = std::max(entry.pause_start + entry.pause - now, absl::ZeroDuration())};
  }
  return std::nullopt;
}

size_t WishList::size() const {
  absl::MutexLock lock(&mu_);
  return entries_.size();
}

}  // namespace weightd
