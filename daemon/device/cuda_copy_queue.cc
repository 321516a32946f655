#include "daemon/device/cuda_copy_queue.h"

#if WEIGHTD_HAVE_CUDA

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/device/copy_range.h"
#include "daemon/device/cuda_allocation.h"

namespace weightd {
namespace {

constexpr absl::Duration kStallTimeout = absl::Minutes(1);
constexpr absl::Duration kFirstWait = absl::Microseconds(10);
constexpr absl::Duration kLongestWait = absl::Microseconds(500);

// Short sleeps that get longer, until a deadline. The clock does not jump.
class Waiter {
 public:
  explicit Waiter(absl::Duration timeout) : timeout_(timeout) {}
  // False when the time is over.
  bool Wait() {
    const absl::Duration left =
        timeout_ - absl::FromChrono(std::chrono::steady_clock::now() - start_);
    if (left <= absl::ZeroDuration()) return false;
    absl::SleepFor(std::min(left, next_));
    next_ = std::min(next_ * 2, kLongestWait);
    return true;
  }

 private:
  const absl::Duration timeout_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  absl::Duration next_ = kFirstWait;
};

// The allocation as one that `context` may write to.
absl::StatusOr<CudaAllocation*> Writable(Allocation* allocation, const CudaContext& context,
                                         absl::string_view what) {
  auto* target = dynamic_cast<CudaAllocation*>(allocation);
  if (target == nullptr || &target->context() != &context) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": the allocation is not one of ", context.uuid()));
  }
  if (target->sealed()) {
    return absl::FailedPreconditionError(absl::StrCat(what, ": the allocation is sealed"));
  }
  return target;
}

}  // namespace

CudaCopyQueue::~CudaCopyQueue() {
  const auto current = context_.Enter();
  if (!current.ok()) return;  // without its context nothing runs, and nothing can be given back
  const CudaDriver& driver = context_.driver();
  // After an error a copy may be on the stream without an event behind it.
  if (!pending_.empty() || !failed_.ok()) (void)driver.cuStreamSynchronize(context_.stream());
  for (const Pending& pending : pending_) free_events_.push_back(pending.event);
  for (CUevent event : free_events_) (void)driver.cuEventDestroy(event);
}

absl::Status CudaCopyQueue::Fail(const absl::Status& status) {
  if (failed_.ok()) failed_ = context_.errors().Count(ErrorCounts::Operation::kCopy, status);
  return failed_;
}

absl::StatusOr<CUevent> CudaCopyQueue::TakeEvent() {
  if (!free_events_.empty()) {
    CUevent event = free_events_.back();
    free_events_.pop_back();
    return event;
  }
  CUevent event = nullptr;
  RETURN_IF_ERROR(
      context_.driver().ToStatus(context_.driver().cuEventCreate(&event, CU_EVENT_DISABLE_TIMING),
                                 absl::StrCat("create event on ", context_.uuid())));
  return event;
}

absl::Status CudaCopyQueue::Track(std::optional<uint64_t> tag) {
  ASSIGN_OR_RETURN(CUevent event, TakeEvent());
  absl::Status status =
      context_.driver().ToStatus(context_.driver().cuEventRecord(event, context_.stream()),
                                 absl::StrCat("record event on ", context_.uuid()));
  if (!status.ok()) {
    free_events_.push_back(event);
    return status;
  }
  pending_.push_back({event, tag});
  if (tag.has_value()) ++copies_pending_;
  return absl::OkStatus();
}

absl::Status CudaCopyQueue::Submit(const CopyRequest& request) {
  RETURN_IF_ERROR(failed_);
  ASSIGN_OR_RETURN(CudaAllocation * to, Writable(request.to, context_, "copy"));
  RETURN_IF_ERROR(CheckRange("copy", request.offset, request.from.size(), to->bytes()));
  RETURN_IF_ERROR(WaitUntilPending(kCopiesInFlightMax - 1));
  ASSIGN_OR_RETURN(const ScopedCudaContext current, context_.Enter());
  const CudaDriver& driver = context_.driver();
  if (!request.from.empty()) {
    const absl::Status status =
        driver.ToStatus(driver.cuMemcpyHtoDAsync(to->base() + request.offset, request.from.data(),
                                                 request.from.size(), context_.stream()),
                        absl::StrCat("copy ", request.from.size(), " bytes to ", context_.uuid()));
    if (!status.ok()) return Fail(status);
  }
  const absl::Status status = Track(request.tag);
  return status.ok() ? status : Fail(status);
}

absl::Status CudaCopyQueue::Move(Allocation& allocation, uint64_t from, uint64_t to,
                                 uint64_t bytes) {
  RETURN_IF_ERROR(failed_);
  ASSIGN_OR_RETURN(CudaAllocation * target, Writable(&allocation, context_, "move"));
  RETURN_IF_ERROR(CheckMove(from, to, bytes, target->bytes()));
  if (bytes == 0) return absl::OkStatus();
  RETURN_IF_ERROR(WaitUntilPending(kCopiesInFlightMax - 1));
  ASSIGN_OR_RETURN(const ScopedCudaContext current, context_.Enter());
  const CudaDriver& driver = context_.driver();
  absl::Status status =
      driver.ToStatus(driver.cuMemcpyDtoDAsync(target->base() + to, target->base() + from, bytes,
                                               context_.stream()),
                      absl::StrCat("move ", bytes, " bytes on ", context_.uuid()));
  if (status.ok()) status = Track(std::nullopt);
  return status.ok() ? status : Fail(status);
}

absl::Status CudaCopyQueue::Reap() {
  if (pending_.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ScopedCudaContext current, context_.Enter());
  const CudaDriver& driver = context_.driver();
  while (!pending_.empty()) {
    const CUresult result = driver.cuEventQuery(pending_.front().event);
    if (result == CUDA_ERROR_NOT_READY) return absl::OkStatus();
    if (result != CUDA_SUCCESS) {
      return Fail(driver.ToStatus(result, absl::StrCat("copy to ", context_.uuid())));
    }
    const Pending done = pending_.front();
    pending_.pop_front();
    free_events_.push_back(done.event);
    if (!done.tag.has_value()) continue;
    --copies_pending_;
    finished_.push_back(*done.tag);
  }
  return absl::OkStatus();
}

absl::Status CudaCopyQueue::WaitUntilPending(size_t pending_max) {
  while (pending_.size() > pending_max) {
    const size_t before = pending_.size();
    Waiter waiter(kStallTimeout);  // a new one after each progress
    do {
      RETURN_IF_ERROR(Reap());
    } while (pending_.size() == before && waiter.Wait());
    if (pending_.size() == before) {
      return Fail(ErrorWithReason(
          absl::StatusCode::kDeadlineExceeded, Reason::kDeviceFailed,
          absl::StrCat("copy to ", context_.uuid(), ": no progress for ",
                       absl::FormatDuration(kStallTimeout), " with ", before, " in flight")));
    }
  }
  return absl::OkStatus();
}

absl::Status CudaCopyQueue::Poll(absl::Duration timeout,
                                 absl::FunctionRef<void(uint64_t tag)> done) {
  RETURN_IF_ERROR(failed_);
  Waiter waiter(timeout);
  do {
    RETURN_IF_ERROR(Reap());
  } while (finished_.empty() && copies_pending_ > 0 && waiter.Wait());
  // Taken first: `done` may submit again.
  const std::vector<uint64_t> tags = std::exchange(finished_, {});
  for (const uint64_t tag : tags) done(tag);
  return absl::OkStatus();
}

absl::Status CudaCopyQueue::Finish() {
  RETURN_IF_ERROR(failed_);
  RETURN_IF_ERROR(WaitUntilPending(0));
  finished_.clear();
  return absl::OkStatus();
}

}  // namespace weightd

#endif  // WEIGHTD_HAVE_CUDA
