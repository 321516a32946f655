#include "daemon/storage/uring_read_queue.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/steady_time.h"
#include "daemon/storage/read_request.h"

namespace weightd {
namespace {

// user_data of a cancellation; reads have the index of their entry.
constexpr uint64_t kCancelData = ~uint64_t{0};
// Waits in the kernel are cut, so that no length of time can overflow its timespec.
constexpr absl::Duration kWaitMax = absl::Hours(1);
// What to do when the kernel has no memory for more requests and nothing to wait for.
constexpr absl::Duration kBusyPause = absl::Milliseconds(1);

// Errors of io_uring_enter that only say "later": no memory for requests (EAGAIN), a full
// completion ring (EBUSY), a signal, nothing within the time.
bool IsLater(int error) {
  return error == EAGAIN || error == EBUSY || error == EINTR || error == ETIME;
}

__kernel_timespec ToKernelTimespec(absl::Duration duration) {
  const timespec time = absl::ToTimespec(duration);
  return {.tv_sec = time.tv_sec, .tv_nsec = time.tv_nsec};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ReadQueue>> UringReadQueue::Create(const ReadQueueOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  Warnings fallbacks;
  ASSIGN_OR_RETURN(Uring uring,
                   Uring::Create(options.depth + options.stuck_max, options.slots, &fallbacks));
  return std::unique_ptr<ReadQueue>(
      new UringReadQueue(options, std::move(uring), std::move(fallbacks)));
}

UringReadQueue::UringReadQueue(const ReadQueueOptions& options, Uring uring, Warnings fallbacks)
    : options_(options),
      fallbacks_(std::move(fallbacks)),
      uring_(std::move(uring)),
      files_(uring_),
      pread_(SystemPread()),
      entries_(options.depth + options.stuck_max) {
  for (size_t i = entries_.size(); i > 0; --i) free_.push_back(static_cast<uint32_t>(i - 1));
  for (auto* list : {&finished_, &delivered_}) list->reserve(options.depth);
  deferred_.reserve(options.depth);
  completions_.reserve(options.depth);
}

UringReadQueue::~UringReadQueue() { CancelAll(); }

absl::Status UringReadQueue::Submit(const ReadRequest& request) {
  RETURN_IF_ERROR(broken_);
  if (in_flight_count_ == options_.depth) return QueueFullError(options_.depth);
  RETURN_IF_ERROR(ValidateReadRequest(request, options_.slots));
  if (request.file->descriptor(request.mode) < 0) {
    return absl::InvalidArgumentError("read of a file without a descriptor");
  }
  if (EngineFor(ReadEngine::kUring, *request.file) != ReadEngine::kUring) {
    return absl::InvalidArgumentError(absl::StrCat(
        "read ", request.file->path(), " with io_uring: ", kFuseWithoutRing, "; use pread"));
  }
  RETURN_IF_ERROR(CheckNotTooManyStuck(request, stuck_count_, options_));
  RETURN_IF_ERROR(uring_.Enable());
  const uint32_t index = free_.back();
  free_.pop_back();
  ++in_flight_count_;
  entries_[index].progress = ReadProgress(request, options_.retries_max);
  Start(index, SteadyNow());
  return absl::OkStatus();
}

absl::Status UringReadQueue::Poll(absl::Duration timeout,
                                  absl::FunctionRef<void(const ReadDone&)> done) {
  RETURN_IF_ERROR(broken_);
  absl::Time now = SteadyNow();
  const absl::Time deadline = now + timeout;
  while (finished_.empty() && in_flight_count_ + stuck_count_ > 0) {
    StartDeferred(now);
    Enter(now, NextDue(deadline));
    RETURN_IF_ERROR(broken_);
    Reap();
    if (!finished_.empty()) break;
    now = SteadyNow();
    TellStuck(now);
    if (now >= deadline) break;
  }
  Deliver(done);
  if (in_flight_count_ == 0) files_.ReleaseIdle();  // of those without reads
  return absl::OkStatus();
}

void UringReadQueue::Start(uint32_t index, absl::Time now) {
  Entry& entry = entries_[index];
  entry.started = now;
  if (entry.progress.part().pause > absl::ZeroDuration()) {
    deferred_.push_back(index);
  } else {
    PrepareRead(index);
  }
}

void UringReadQueue::PrepareRead(uint32_t index) {
  Entry& entry = entries_[index];
  const ReadRequest& request = entry.progress.request();
  const ReadPart& part = entry.progress.part();
  io_uring_sqe* sqe = io_uring_get_sqe(uring_.ring());
  assert(sqe != nullptr);  // the ring has room for every entry's request and its cancellation

  ReleaseFile(entry);
  entry.file_index = files_.Acquire(*request.file, part.mode);
  const int file = entry.file_index >= 0 ? entry.file_index : request.file->descriptor(part.mode);
  std::byte* const memory = request.buffer.data() + part.position;
  const auto length = static_cast<unsigned>(part.length);
  if (request.slot >= 0 && uring_.has_buffers()) {
    io_uring_prep_read_fixed(sqe, file, memory, length, part.offset, request.slot);
  } else {
    io_uring_prep_read(sqe, file, memory, length, part.offset);
  }
  if (entry.file_index >= 0) io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
  sqe->ioprio = IoPriorityValue(options_.io_priority);
  io_uring_sqe_set_data64(sqe, index);
  entry.in_kernel = true;
  ++in_kernel_count_;
}

void UringReadQueue::StartDeferred(absl::Time now) {
  const auto due = std::partition(deferred_.begin(), deferred_.end(), [&](uint32_t index) {
    return entries_[index].started + entries_[index].progress.part().pause > now;
  });
  for (auto it = due; it != deferred_.end(); ++it) {
    entries_[*it].started = now;
    PrepareRead(*it);
  }
  deferred_.erase(due, deferred_.end());
}

absl::Time UringReadQueue::NextDue(absl::Time deadline) const {
  absl::Time next = deadline;
  for (const Entry& entry : entries_) {
    if (!entry.in_kernel || entry.stuck) continue;
    next = std::min(next, entry.started + options_.stall_timeout);
  }
  for (const uint32_t index : deferred_) {
    next = std::min(next, entries_[index].started + entries_[index].progress.part().pause);
  }
  return next;
}

void UringReadQueue::Enter(absl::Time now, absl::Time until) {
  int result = 0;
  if (until <= now) {
    result = io_uring_submit_and_get_events(uring_.ring());
  } else {
    __kernel_timespec timeout = ToKernelTimespec(std::min(until - now, kWaitMax));
    io_uring_cqe* ignored = nullptr;
    const uint32_t count =
        std::clamp((in_kernel_count_ - stuck_in_kernel_count_) / 2, 1U, options_.poll_batch);
    result = io_uring_submit_and_wait_timeout(uring_.ring(), &ignored, count, &timeout, nullptr);
  }
  if (result >= 0) return;
  if (!IsLater(-result)) {
    broken_ = ErrorWithReason(PosixError(-result, "").code(), Reason::kReadFailed,
                              PosixError(-result, "io_uring enter").message());
  } else if (until > now && (result == -EAGAIN || result == -EBUSY)) {
    absl::SleepFor(kBusyPause);
  }
}

void UringReadQueue::Reap() {
  completions_.clear();
  unsigned head = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(uring_.ring(), head, cqe) {
    completions_.push_back({.data = cqe->user_data, .result = cqe->res});
  }
  io_uring_cq_advance(uring_.ring(), static_cast<unsigned>(completions_.size()));
  for (const Completion& completion : completions_) {
    if (completion.data == kCancelData) continue;
    TakeResult(static_cast<uint32_t>(completion.data), completion.result);
  }
}

void UringReadQueue::TakeResult(uint32_t index, int32_t result) {
  Entry& entry = entries_[index];
  assert(entry.in_kernel);
  entry.in_kernel = false;
  --in_kernel_count_;
  if (std::exchange(entry.stuck, false)) {
    --stuck_in_kernel_count_;
    ReleaseFile(entry);
    finished_.push_back({.tag = entry.progress.request().tag, .returned = true});
    free_.push_back(index);
    return;
  }
  entry.progress.OnResult(result);
  while (entry.progress.part().kind == ReadPart::Kind::kPread) RunPart(entry.progress, pread_);
  if (entry.progress.finished()) {
    FinishEntry(index);
  } else {
    Start(index, SteadyNow());
  }
}

void UringReadQueue::FinishEntry(uint32_t index) {
  ReleaseFile(entries_[index]);
  finished_.push_back(entries_[index].progress.TakeDone());
  free_.push_back(index);
}

void UringReadQueue::ReleaseFile(Entry& entry) {
  files_.Release(std::exchange(entry.file_index, -1));
}

void UringReadQueue::TellStuck(absl::Time now) {
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    if (!entry.in_kernel || entry.stuck || now - entry.started < options_.stall_timeout) continue;
    entry.stuck = true;
    ++stuck_in_kernel_count_;
    finished_.push_back(
        StuckRead(entry.progress.request(), entry.progress.part().offset, options_.stall_timeout));
    PrepareCancel(i);
  }
}

void UringReadQueue::PrepareCancel(uint32_t index) {
  io_uring_sqe* sqe = io_uring_get_sqe(uring_.ring());
  if (sqe == nullptr) {
    // Full of cancellations that were not entered yet.
    (void)io_uring_submit(uring_.ring());
    sqe = io_uring_get_sqe(uring_.ring());
  }
  if (sqe == nullptr) return;  // it ends by itself, or never
  io_uring_prep_cancel64(sqe, index, 0);
  io_uring_sqe_set_data64(sqe, kCancelData);
}

void UringReadQueue::Deliver(absl::FunctionRef<void(const ReadDone&)> done) {
  delivered_.swap(finished_);
  for (const ReadDone& read : delivered_) {
    CountDone(read, in_flight_count_, stuck_count_);
    done(read);
  }
  delivered_.clear();
}

void UringReadQueue::CancelAll() {
  // Reads that the kernel has not even taken, which is all of them when it forbids entering.
  uint32_t untaken_count = in_kernel_count_ > 0 ? io_uring_sq_ready(uring_.ring()) : 0;
  for (uint32_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].in_kernel) PrepareCancel(i);
  }
  while (in_kernel_count_ > 0) {
    const int result = io_uring_submit_and_wait(uring_.ring(), 1);
    // Another thread than the owner: legal once the owner has ended, since the kernel cancels and
    // waits for a thread's requests when the thread ends.
    if (result == -EEXIST) return;
    if (result >= 0) untaken_count = 0;
    if (result < 0 && !IsLater(-result)) {
      if (untaken_count == in_kernel_count_) return;
      // To go on would let the kernel write into memory that the caller is about to reuse.
      std::fprintf(stderr, "io_uring: cannot wait for %u reads: error %d\n", in_kernel_count_,
                   -result);
      std::abort();
    }
    unsigned head = 0;
    unsigned seen_count = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(uring_.ring(), head, cqe) {
      if (cqe->user_data != kCancelData) --in_kernel_count_;
      ++seen_count;
    }
    io_uring_cq_advance(uring_.ring(), seen_count);
  }
}

}  // namespace weightd
