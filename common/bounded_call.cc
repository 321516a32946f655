#include "common/bounded_call.h"

#include <algorithm>
#include <atomic>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/status_macros.h"
#include "common/thread.h"

namespace weightd {
namespace {

// Shared with the thread, which may outlive the call.
struct Call {
  // Whether it ended in time.
  bool Await(absl::Duration timeout) {
    absl::MutexLock lock(&mu);
    return mu.AwaitWithTimeout(absl::Condition(&ended), timeout);
  }

  absl::Mutex mu;
  bool ended ABSL_GUARDED_BY(mu) = false;
  bool abandoned ABSL_GUARDED_BY(mu) = false;
  absl::Status status ABSL_GUARDED_BY(mu);
};

std::atomic<int>& Abandoned() {
  static std::atomic<int> count = 0;
  return count;
}

}  // namespace

absl::Status CallWithin(absl::Duration timeout, const std::string& what,
                        std::function<absl::Status()> work, const SlowNotice& slow) {
  if (Abandoned().load() >= kAbandonedCallsMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat(what, ": not tried, ", kAbandonedCallsMax,
                     " calls like it hang; see what its path lies on"));
  }
  const auto call = std::make_shared<Call>();
  RETURN_IF_ERROR(Thread::StartDetached("bounded-call", [call, work = std::move(work)]() mutable {
    absl::Status status = work();
    work = nullptr;  // before anybody is told: what it owns has its end here
    absl::MutexLock lock(&call->mu);
    call->status = std::move(status);
    call->ended = true;
    if (call->abandoned) Abandoned().fetch_sub(1);
  }));
  const absl::Duration unsaid = std::min(slow.after, timeout);
  if (!call->Await(unsaid) && unsaid < timeout) {
    slow.tell();
    call->Await(timeout - unsaid);
  }
  absl::MutexLock lock(&call->mu);
  if (call->ended) return call->status;
  call->abandoned = true;
  Abandoned().fetch_add(1);
  return absl::DeadlineExceededError(absl::StrCat(
      what, ": no answer within ", absl::FormatDuration(timeout),
      "; its path may lie on a volume that hangs, or be a FIFO that nobody writes to"));
}

}  // namespace weightd
