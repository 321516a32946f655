#include "daemon/service/uid_limits.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

constexpr uint64_t kConnectionsCeiling = 1 << 20;
constexpr uint64_t kCallsCeiling = 1 << 20;
constexpr uint64_t kWatchersCeiling = 1 << 16;
constexpr uint64_t kQueuedBytesFloor = 1 << 20;  // one message of any kind
constexpr uint64_t kQueuedBytesCeiling = uint64_t{1} << 40;
constexpr uint32_t kReservePercentMax = 90;
// A connection to weightd.sock has its own, and the two ends of the one that gRPC has in its place
// (ConnectionRelay); one to handles.sock has its own alone.
constexpr uint64_t kDescriptorsPerPair = 4;
// However few descriptors there are, somebody gets in.
constexpr uint64_t kConnectionsFloor = 8;
// However few calls there may be, requests come in parts.
constexpr uint64_t kUnfinishedFloor = 16;

size_t IndexOf(Cost cost) { return static_cast<size_t>(cost); }

UidLimit LimitOf(const UidLimitOptions& options, Cost cost) {
  switch (cost) {
    case Cost::kConnections:
    case Cost::kHandleConnections:
      return options.connections;
    case Cost::kCalls:
      return options.calls;
    case Cost::kWaitingAttaches:
      return options.waiting_attaches;
    case Cost::kWatchers:
      return options.watchers;
    case Cost::kQueuedBytes:
      return options.queued_bytes;
    case Cost::kStreams:
      return {.per_uid_max = 2 * options.calls.per_uid_max, .max = 2 * options.calls.max};
    case Cost::kUnfinishedRequests:
      return {.per_uid_max = std::max(options.calls.per_uid_max / 4, kUnfinishedFloor),
              .max = std::max(options.calls.max / 4, kUnfinishedFloor)};
  }
  return options.calls;
}

// The settings are named after it: limits.<this>_per_uid_max and limits.<this>_max.
absl::string_view SettingOf(Cost cost) {
  if (cost == Cost::kHandleConnections) return "connections";
  const bool is_of_calls = cost == Cost::kStreams || cost == Cost::kUnfinishedRequests;
  return is_of_calls ? "calls" : CostName(cost);
}

absl::Status CheckSetting(absl::string_view name, const UidLimit& limit, uint64_t floor,
                          uint64_t ceiling) {
  for (const auto& [suffix, value] :
       {std::pair<absl::string_view, uint64_t>{"_per_uid_max", limit.per_uid_max},
        std::pair<absl::string_view, uint64_t>{"_max", limit.max}}) {
    if (value >= floor && value <= ceiling) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(name, suffix, " is ", value, ", wanted ", floor, " to ", ceiling));
  }
  return absl::OkStatus();
}

// At least one, where there are several.
uint64_t ReserveOf(const UidLimit& limit, uint32_t percent) {
  if (limit.max < 2 || percent == 0) return 0;
  return std::max<uint64_t>(limit.max * percent / 100, 1);
}

UidLimitOptions FitToDescriptors(UidLimitOptions options, uint64_t descriptors_max) {
  UidLimit& connections = options.connections;
  const uint64_t room = std::max(descriptors_max / 2 / kDescriptorsPerPair, kConnectionsFloor);
  if (room >= connections.max) return options;
  connections.max = room;
  connections.per_uid_max = std::min(connections.per_uid_max, room / 2);
  return options;
}

absl::Status LimitExceeded(absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded, message);
}

}  // namespace

absl::string_view CostName(Cost cost) {
  switch (cost) {
    case Cost::kConnections:
      return "connections";
    case Cost::kHandleConnections:
      return "handle_connections";
    case Cost::kCalls:
      return "calls";
    case Cost::kWaitingAttaches:
      return "waiting_attaches";
    case Cost::kWatchers:
      return "watchers";
    case Cost::kQueuedBytes:
      return "queued_bytes";
    case Cost::kStreams:
      return "streams";
    case Cost::kUnfinishedRequests:
      return "unfinished_requests";
  }
  return "unknown";
}

absl::Status UidLimitOptions::Validate() const {
  RETURN_IF_ERROR(CheckSetting("connections", connections, 1, kConnectionsCeiling));
  RETURN_IF_ERROR(CheckSetting("calls", calls, 1, kCallsCeiling));
  RETURN_IF_ERROR(CheckSetting("waiting_attaches", waiting_attaches, 1, kCallsCeiling));
  RETURN_IF_ERROR(CheckSetting("watchers", watchers, 1, kWatchersCeiling));
  RETURN_IF_ERROR(
      CheckSetting("queued_bytes", queued_bytes, kQueuedBytesFloor, kQueuedBytesCeiling));
  if (operator_reserve_percent > kReservePercentMax) {
    return absl::InvalidArgumentError(absl::StrCat("operator_reserve_percent is ",
                                                   operator_reserve_percent, ", wanted at most ",
                                                   kReservePercentMax));
  }
  return absl::OkStatus();
}

absl::Status UidLimits::Share::Grow(uint64_t amount) {
  if (limits_ == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(limits_->Add(cost_, taker_, amount));
  amount_ += amount;
  return absl::OkStatus();
}

void UidLimits::Share::Shrink(uint64_t amount) {
  amount = std::min(amount, amount_);
  if (limits_ == nullptr || amount == 0) return;
  amount_ -= amount;
  limits_->Remove(cost_, taker_, amount);
}

UidLimits::UidLimits(const UidLimitOptions& options, uint64_t descriptors_max)
    : descriptors_max_(descriptors_max), options_(FitToDescriptors(options, descriptors_max)) {}

void UidLimits::Set(const UidLimitOptions& options) {
  absl::MutexLock lock(&mu_);
  options_ = FitToDescriptors(options, descriptors_max_);
}

absl::StatusOr<Share> UidLimits::Take(Cost cost, Taker taker, uint64_t amount) {
  RETURN_IF_ERROR(Add(cost, taker, amount));
  return Share(this, cost, taker, amount);
}

absl::Status UidLimits::Add(Cost cost, Taker taker, uint64_t amount) {
  absl::MutexLock lock(&mu_);
  absl::Status fits = Check(cost, taker, amount);
  if (!fits.ok()) {
    ++refusals_[IndexOf(cost)];
    return fits;
  }
  if (amount == 0) return fits;
  taken_[IndexOf(cost)] += amount;
  per_uid_[taker.uid][IndexOf(cost)] += amount;
  return fits;
}

absl::Status UidLimits::Fits(Cost cost, Taker taker) const {
  absl::MutexLock lock(&mu_);
  return Check(cost, taker, 1);
}

absl::Status UidLimits::Check(Cost cost, Taker taker, uint64_t amount) const {
  const UidLimit limit = LimitOf(options_, cost);
  const auto found = per_uid_.find(taker.uid);
  const uint64_t held = found == per_uid_.end() ? 0 : found->second[IndexOf(cost)];
  if (held > limit.per_uid_max || amount > limit.per_uid_max - held) {
    return LimitExceeded(absl::StrCat("uid ", taker.uid, " has ", held, " ", CostName(cost),
                                      " of at most ", limit.per_uid_max, ": limits.",
                                      SettingOf(cost), "_per_uid_max"));
  }
  const uint64_t reserve = taker.operates ? 0 : ReserveOf(limit, options_.operator_reserve_percent);
  const uint64_t max = limit.max - reserve;
  const uint64_t taken = taken_[IndexOf(cost)];
  if (taken <= max && amount <= max - taken) return absl::OkStatus();
  return LimitExceeded(absl::StrCat(
      "all uids have ", taken, " ", CostName(cost), " of at most ", max, ": limits.",
      SettingOf(cost), "_max",
      reserve > 0 ? absl::StrCat(" less what is kept for who may operate, ", reserve) : ""));
}

void UidLimits::Remove(Cost cost, Taker taker, uint64_t amount) {
  absl::MutexLock lock(&mu_);
  taken_[IndexOf(cost)] -= amount;
  const auto found = per_uid_.find(taker.uid);
  found->second[IndexOf(cost)] -= amount;
  if (found->second == Amounts{}) per_uid_.erase(found);
}

uint64_t UidLimits::taken(Cost cost) const {
  absl::MutexLock lock(&mu_);
  return taken_[IndexOf(cost)];
}

uint64_t UidLimits::taken(Cost cost, uint32_t uid) const {
  absl::MutexLock lock(&mu_);
  const auto found = per_uid_.find(uid);
  return found == per_uid_.end() ? 0 : found->second[IndexOf(cost)];
}

uint64_t UidLimits::refusals(Cost cost) const {
  absl::MutexLock lock(&mu_);
  return refusals_[IndexOf(cost)];
}

}  // namespace weightd
