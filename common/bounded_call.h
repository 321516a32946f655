#ifndef WEIGHTD_COMMON_BOUNDED_CALL_H_
#define WEIGHTD_COMMON_BOUNDED_CALL_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

// Calls that may never return, made by somebody who must go on: a file of the daemon's own (its
// configuration, a key) may lie on a volume that hangs, or be a FIFO that nobody writes to.
//
// Files below a root are not read this way: their volume has threads of its own.

namespace weightd {

// Calls that were given up and still run, at most: then further ones are refused.
inline constexpr int kAbandonedCallsMax = 16;

// For somebody who looks on: `tell` is called once, by who waits, when that takes longer than
// `after`.
struct SlowNotice {
  absl::Duration after = absl::InfiniteDuration();
  std::function<void()> tell = {};
};

// Runs `work` on a thread of its own and waits until it returns, at most for `timeout`. After that
// the call is abandoned: the work runs on, so it must own all that it uses, and its result is
// dropped. `what` names it, like "read configuration /etc/weightd.textproto". What the work asks a
// volume must be volume calls (common/volume_call.h): else the process cannot end before them.
//
// DEADLINE_EXCEEDED when the time is over; RESOURCE_EXHAUSTED when no thread can be had, or
// kAbandonedCallsMax calls hang already. Thread-safe.
absl::Status CallWithin(absl::Duration timeout, const std::string& what,
                        std::function<absl::Status()> work, const SlowNotice& slow = {});

// Likewise, for work that has a result.
template <typename T>
absl::StatusOr<T> CallWithin(absl::Duration timeout, const std::string& what,
                             std::function<absl::StatusOr<T>()> work, const SlowNotice& slow = {}) {
  const auto result = std::make_shared<absl::StatusOr<T>>();
  const absl::Status called =
      CallWithin(timeout, what, std::function<absl::Status()>([result, work = std::move(work)] {
                   *result = work();
                   return absl::OkStatus();
                 }),
                 slow);
  // Not read before: an abandoned call may be writing it.
  if (!called.ok()) return called;
  return std::move(*result);
}

}  // namespace weightd

#endif  // WEIGHTD_COMMON_BOUNDED_CALL_H_
