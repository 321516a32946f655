#include "daemon/storage/pread_read_queue.h"

#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/storage/read_request.h"
#include "daemon/storage/steady_time.h"

namespace weightd {

absl::StatusOr<std::unique_ptr<ReadQueue>> PreadReadQueue::Create(
    const ReadQueueOptions& options, PreadFunction pread, std::vector<std::string> fallbacks) {
  RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<PreadReadQueue> queue(
      new PreadReadQueue(options, std::move(pread), std::move(fallbacks)));
  RETURN_IF_ERROR(queue->StartThreads());
  return queue;
}

absl::Status PreadReadQueue::StartThreads() {
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.valid()) return PosixError(errno, "make an event of the pread engine");
  const uint32_t wanted_count = std::min(options_.pread_threads, options_.depth);
  while (workers_.size() < wanted_count) {
    auto worker = std::make_unique<Worker>();
    worker->started = absl::InfiniteFuture();
    try {  // std::thread has no other way to say that the limit of threads is reached
      worker->thread = std::thread([this, &worker = *worker] { RunWorker(worker); });
    } catch (const std::system_error& error) {
      const std::string text = absl::StrCat("pread with ", workers_.size(), " of ", wanted_count,
                                            " threads: ", error.code().message(),
                                            "; raise the limit of processes (pids.max, ulimit -u)");
      if (workers_.empty()) return absl::ResourceExhaustedError(text);
      fallbacks_.push_back(text);
      return absl::OkStatus();
    }
    workers_.push_back(std::move(worker));
  }
  return absl::OkStatus();
}

PreadReadQueue::~PreadReadQueue() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    waiting_.clear();
  }
  for (const auto& worker : workers_) worker->thread.join();
}

absl::Status PreadReadQueue::Submit(const ReadRequest& request) {
  RETURN_IF_ERROR(broken_);
  if (in_flight_count_ == options_.depth) return QueueFullError(options_.depth);
  RETURN_IF_ERROR(ValidateReadRequest(request, options_.slots));
  if (request.file->descriptor(request.mode) < 0) {
    return absl::InvalidArgumentError("read of a file without a descriptor");
  }
  ++in_flight_count_;
  absl::MutexLock lock(&mu_);
  waiting_.emplace_back(request, options_.retries_max);
  return absl::OkStatus();
}

absl::Status PreadReadQueue::Poll(absl::Duration timeout,
                                  absl::FunctionRef<void(const ReadDone&)> done) {
  RETURN_IF_ERROR(broken_);
  if (in_flight_count_ == 0) return absl::OkStatus();
  absl::StatusOr<std::vector<ReadDone>> finished = Collect(timeout);
  if (!finished.ok()) return broken_ = finished.status();
  for (const ReadDone& read : *finished) {
    --in_flight_count_;
    done(read);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ReadDone>> PreadReadQueue::Collect(absl::Duration timeout) {
  absl::Time now = SteadyNow();
  const absl::Time deadline = now + timeout;
  absl::MutexLock lock(&mu_);
  while (finished_.empty()) {
    RETURN_IF_ERROR(CheckStall(now));
    if (now >= deadline) break;
    // A call that starts after this look cannot stall within stall_timeout.
    const absl::Time until = std::min({deadline, StallDue(), now + options_.stall_timeout});
    mu_.AwaitWithTimeout(absl::Condition(this, &PreadReadQueue::HasFinished), until - now);
    now = SteadyNow();
  }
  uint64_t count = 0;
  (void)::read(wake_.get(), &count, sizeof(count));  // EAGAIN when it is 0
  return std::exchange(finished_, {});
}

void PreadReadQueue::HandBack(ReadDone done) {
  finished_.push_back(std::move(done));
  if (finished_.size() > 1) return;
  const uint64_t one = 1;
  // Cannot fail: Collect() takes it back with what is finished.
  (void)::write(wake_.get(), &one, sizeof(one));
}

absl::Time PreadReadQueue::StallDue() const {
  absl::Time due = absl::InfiniteFuture();
  for (const auto& worker : workers_) due = std::min(due, worker->started + options_.stall_timeout);
  return due;
}

absl::Status PreadReadQueue::CheckStall(absl::Time now) const {
  for (const auto& worker : workers_) {
    if (worker->progress != nullptr && now - worker->started >= options_.stall_timeout) {
      return StallError(worker->progress->request(), worker->offset, options_.stall_timeout);
    }
  }
  return absl::OkStatus();
}

void PreadReadQueue::RunWorker(Worker& worker) {
  // Refused for want of rights, the reads are as urgent as the process.
  if (const uint16_t priority = IoPriorityValue(options_.io_priority); priority != 0) {
    (void)::syscall(SYS_ioprio_set, kIoPriorityOfThread, 0, priority);
  }
  // One lock from read to read: waiting for it, a thread is slow to come back.
  absl::MutexLock lock(&mu_);
  while (true) {
    mu_.Await(absl::Condition(this, &PreadReadQueue::HasWork));
    if (stopping_) return;
    ReadProgress progress = std::move(waiting_.front());
    waiting_.pop_front();
    if (!RunRead(worker, progress)) return;
    HandBack(progress.TakeDone());
  }
}

bool PreadReadQueue::RunRead(Worker& worker, ReadProgress& progress) {
  while (!progress.finished()) {
    // Ends early when the queue does.
    if (progress.part().pause > absl::ZeroDuration()) {
      mu_.AwaitWithTimeout(absl::Condition(&stopping_), progress.part().pause);
    }
    if (stopping_) return false;
    worker.progress = &progress;
    worker.offset = progress.part().offset;
    worker.started = SteadyNow();
    mu_.Unlock();
    RunPart(progress, pread_);
    mu_.Lock();
    worker.progress = nullptr;
    worker.started = absl::InfiniteFuture();
  }
  return true;
}

}  // namespace weightd
