#ifndef WEIGHTD_DAEMON_SERVICE_UID_LIMITS_H_
#define WEIGHTD_DAEMON_SERVICE_UID_LIMITS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace weightd {

// What clients take of the daemon while they are there. Jobs and leases have limits of their own
// (JobQueue, LeaseTable).
enum class Cost {
  kConnections,         // to weightd.sock
  kHandleConnections,   // to handles.sock
  kCalls,               // that have not ended, streams among them
  kWaitingAttaches,     // that wait for a job
  kWatchers,            // streams of events and of models
  kQueuedBytes,         // of messages that wait for slow readers
  kStreams,             // HTTP/2's, all but a few of each connection: calls, also those that only
                        // gRPC knows; each KiB of their headers counts as one more. Twice as many
                        // as calls may be.
  kUnfinishedRequests,  // that have begun and are not whole, all but one of each connection: gRPC
                        // keeps their headers, and tells nobody. A quarter of what calls may be.
};
inline constexpr size_t kCostCount = 8;

// "connections", "handle_connections" and so on: the word in metrics.
absl::string_view CostName(Cost cost);

struct UidLimit {
  uint64_t per_uid_max = 0;
  uint64_t max = 0;  // of all uids
};

struct UidLimitOptions {
  // Of both kinds of connection each.
  UidLimit connections = {.per_uid_max = 2048, .max = 16384};
  UidLimit calls = {.per_uid_max = 16384, .max = 65536};
  UidLimit waiting_attaches = {.per_uid_max = 8192, .max = 32768};
  UidLimit watchers = {.per_uid_max = 256, .max = 1024};
  UidLimit queued_bytes = {.per_uid_max = 256 << 20, .max = 1 << 30};
  // Of each `max`, what only those get who may operate.
  uint32_t operator_reserve_percent = 10;

  // INVALID_ARGUMENT with the setting's name, what it is and what is allowed.
  absl::Status Validate() const;
};

// Counts what each uid takes, so that no uid keeps the others out, and none of those who may not
// operate keeps out those who may: of each `max` a part is theirs alone.
//
//   ASSIGN_OR_RETURN(Share share, limits.Take(Cost::kWatchers, {.uid = 7, .operates = false}));
//
// Thread-safe. No call blocks.
class UidLimits {
 public:
  struct Taker {
    uint32_t uid = 0;
    bool operates = false;
  };

  // What was taken; given back when it goes, which must be before the UidLimits goes.
  // Thread-compatible.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept {
      if (this == &other) return *this;
      Release();
      limits_ = std::exchange(other.limits_, nullptr);
      cost_ = other.cost_;
      taker_ = other.taker_;
      amount_ = std::exchange(other.amount_, 0);
      return *this;
    }
    ~Share() { Release(); }

    // Takes `amount` more: OK, or RESOURCE_EXHAUSTED as Take(), and nothing is taken. OK without
    // effect for a Share that was default-made.
    absl::Status Grow(uint64_t amount);
    // Gives `amount` back, or all where it is less.
    void Shrink(uint64_t amount);
    void Release() { Shrink(amount_); }
    uint64_t amount() const { return amount_; }

   private:
    friend class UidLimits;
    Share(UidLimits* limits, Cost cost, Taker taker, uint64_t amount)
        : limits_(limits), cost_(cost), taker_(taker), amount_(amount) {}

    UidLimits* limits_ = nullptr;
    Cost cost_ = Cost::kCalls;
    Taker taker_;
    uint64_t amount_ = 0;
  };

  // Connections are descriptors, of which the process may open `descriptors_max` (RLIMIT_NOFILE),
  // and the daemon needs some for itself: a half is for connections, whatever the options say
  // (three for each to weightd.sock, one for each to handles.sock), and then no uid gets more than
  // a half of these.
  UidLimits(const UidLimitOptions& options, uint64_t descriptors_max);
  UidLimits(const UidLimits&) = delete;
  UidLimits& operator=(const UidLimits&) = delete;

  // Who has more than new limits allow keeps it, and gets no more.
  void Set(const UidLimitOptions& options);

  // RESOURCE_EXHAUSTED/LIMIT_EXCEEDED with the numbers and the name of the setting.
  absl::StatusOr<Share> Take(Cost cost, Taker taker, uint64_t amount = 1);

  // What Take() would say of one now; not counted as a refusal.
  absl::Status Fits(Cost cost, Taker taker) const;

  // Of all uids now; of one; and how many times somebody was refused.
  uint64_t taken(Cost cost) const;
  uint64_t taken(Cost cost, uint32_t uid) const;
  uint64_t refusals(Cost cost) const;

 private:
  using Amounts = std::array<uint64_t, kCostCount>;

  absl::Status Add(Cost cost, Taker taker, uint64_t amount);
  void Remove(Cost cost, Taker taker, uint64_t amount);
  absl::Status Check(Cost cost, Taker taker, uint64_t amount) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const uint64_t descriptors_max_;
  mutable absl::Mutex mu_;
  UidLimitOptions options_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<uint32_t, Amounts> per_uid_ ABSL_GUARDED_BY(mu_);  // none is all zero
  Amounts taken_ ABSL_GUARDED_BY(mu_) = {};
  Amounts refusals_ ABSL_GUARDED_BY(mu_) = {};
};

using Share = UidLimits::Share;

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_UID_LIMITS_H_
