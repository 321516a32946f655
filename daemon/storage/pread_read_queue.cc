#include "daemon/storage/pread_read_queue.h"

#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <list>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/steady_time.h"
#include "common/thread.h"
#include "common/unique_fd.h"
#include "daemon/storage/read_request.h"

namespace weightd {

// Thread-safe. Each thread holds it, so that one that is stuck may outlive the queue's owner.
class PreadReadQueue::Threads : public std::enable_shared_from_this<Threads> {
 public:
  Threads(const ReadQueueOptions& options, PreadFunction pread)
      : options_(options), pread_(std::move(pread)) {}

  // Starts the threads; what it had to do without is added to `fallbacks`.
  absl::Status Start(Warnings& fallbacks) ABSL_LOCKS_EXCLUDED(mu_);
  void Submit(const ReadRequest& request) ABSL_LOCKS_EXCLUDED(mu_);
  // Waits for something to tell, and takes it.
  std::vector<ReadDone> Collect(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mu_);
  // Ends the threads, and waits for the calls that they are in.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);
  int wake_descriptor() const { return wake_.get(); }

 private:
  // A read that a thread makes, and the call that it is in.
  struct Call {
    ReadProgress progress;
    uint64_t offset = 0;
    absl::Time started = absl::InfiniteFuture();  // of SteadyNow(); outside calls the future
    bool stuck = false;                           // and told so
  };

  uint32_t Wanted() const { return std::min(options_.pread_threads, options_.depth); }
  absl::Status StartThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Has a thread for each that is stuck.
  void Replace() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Run() ABSL_LOCKS_EXCLUDED(mu_);
  // Whether its thread goes on.
  bool MakeRead(Call& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // False when the queue ends before the read does, or it was stuck. Without the lock while the
  // kernel reads.
  bool MakeCalls(Call& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void HandBack(ReadDone done) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TellStuck(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Time StallDue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopping_ || !waiting_.empty(); }
  bool HasFinished() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !finished_.empty(); }
  bool NoneLeft() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return thread_count_ == 0; }

  const ReadQueueOptions options_;
  const PreadFunction pread_;
  UniqueFd wake_;  // fixed after Start(); counts while finished_ has reads

  mutable absl::Mutex mu_;  // never held across a read or a callback
  std::deque<ReadProgress> waiting_ ABSL_GUARDED_BY(mu_);
  std::list<Call> calls_ ABSL_GUARDED_BY(mu_);  // their progress is their thread's
  std::vector<ReadDone> finished_ ABSL_GUARDED_BY(mu_);
  uint32_t thread_count_ ABSL_GUARDED_BY(mu_) = 0;  // those that are stuck included
  uint32_t stuck_count_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

absl::Status PreadReadQueue::Threads::StartThread() {
  // It waits for the lock first.
  RETURN_IF_ERROR(Thread::StartDetached("pread", [self = shared_from_this()] { self->Run(); }));
  ++thread_count_;
  return absl::OkStatus();
}

absl::Status PreadReadQueue::Threads::Start(Warnings& fallbacks) {
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.valid()) return PosixError(errno, "make an event of the pread engine");
  absl::MutexLock lock(&mu_);
  while (thread_count_ < Wanted()) {
    const absl::Status started = StartThread();
    if (started.ok()) continue;
    if (thread_count_ == 0) return Annotate(started, "pread without threads");
    fallbacks.push_back({.reason = WarningReason::kFewThreads,
                         .text = absl::StrCat("pread with ", thread_count_, " of ", Wanted(),
                                              " threads: ", started.message())});
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

// Where the system gives no thread, those that are left read on; without any, what waits fails.
void PreadReadQueue::Threads::Replace() {
  absl::Status started;
  while (started.ok() && thread_count_ - stuck_count_ < Wanted()) started = StartThread();
  if (started.ok() || thread_count_ > stuck_count_) return;
  for (ReadProgress& read : std::exchange(waiting_, {})) {
    HandBack({.tag = read.request().tag,
              .status = ErrorWithReason(
                  absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
                  absl::StrCat("read ", read.request().file->path(), " at ", read.request().offset,
                               ": all threads are stuck, and ", started.message()))});
  }
}

void PreadReadQueue::Threads::Stop() {
  absl::MutexLock lock(&mu_);
  stopping_ = true;
  waiting_.clear();
  mu_.Await(absl::Condition(this, &Threads::NoneLeft));
}

void PreadReadQueue::Threads::Submit(const ReadRequest& request) {
  absl::MutexLock lock(&mu_);
  waiting_.emplace_back(request, options_.retries_max);
  if (thread_count_ == stuck_count_) Replace();
}

std::vector<ReadDone> PreadReadQueue::Threads::Collect(absl::Duration timeout) {
  absl::Time now = SteadyNow();
  const absl::Time deadline = now + timeout;
  absl::MutexLock lock(&mu_);
  while (finished_.empty()) {
    TellStuck(now);
    if (!finished_.empty() || now >= deadline) break;
    // A call that starts after this look cannot stall within stall_timeout.
    const absl::Time until = std::min({deadline, StallDue(), now + options_.stall_timeout});
    mu_.AwaitWithTimeout(absl::Condition(this, &Threads::HasFinished), until - now);
    now = SteadyNow();
  }
  uint64_t count = 0;
  (void)::read(wake_.get(), &count, sizeof(count));  // EAGAIN when it is 0
  return std::exchange(finished_, {});
}

void PreadReadQueue::Threads::HandBack(ReadDone done) {
  finished_.push_back(std::move(done));
  if (finished_.size() > 1) return;
  const uint64_t one = 1;
  // Cannot fail: Collect() takes it back with what is finished.
  (void)::write(wake_.get(), &one, sizeof(one));
}

absl::Time PreadReadQueue::Threads::StallDue() const {
  absl::Time due = absl::InfiniteFuture();
  for (const Call& call : calls_) {
    if (!call.stuck) due = std::min(due, call.started + options_.stall_timeout);
  }
  return due;
}

void PreadReadQueue::Threads::TellStuck(absl::Time now) {
  for (Call& call : calls_) {
    if (call.stuck || now - call.started < options_.stall_timeout) continue;
    call.stuck = true;
    ++stuck_count_;
    HandBack(StuckRead(call.progress.request(), call.offset, options_.stall_timeout));
  }
  if (thread_count_ - stuck_count_ < Wanted() && stuck_count_ > 0) Replace();
}

void PreadReadQueue::Threads::Run() {
  // Refused for want of rights, the reads are as urgent as the process.
  if (const uint16_t priority = IoPriorityValue(options_.io_priority); priority != 0) {
    (void)::syscall(SYS_ioprio_set, kIoPriorityOfThread, 0, priority);
  }
  // One lock from read to read: waiting for it, a thread is slow to come back.
  absl::MutexLock lock(&mu_);
  while (true) {
    mu_.Await(absl::Condition(this, &Threads::HasWork));
    if (stopping_) break;
    calls_.push_front({.progress = std::move(waiting_.front())});
    const auto call = calls_.begin();
    waiting_.pop_front();
    const bool goes_on = MakeRead(*call);
    calls_.erase(call);
    if (!goes_on) break;
  }
  --thread_count_;
}

bool PreadReadQueue::Threads::MakeRead(Call& call) {
  const uint64_t tag = call.progress.request().tag;
  if (MakeCalls(call)) {
    HandBack(call.progress.TakeDone());
    return true;
  }
  if (!call.stuck) return false;
  HandBack({.tag = tag, .returned = true});
  --stuck_count_;
  // Another one may have taken its place.
  return thread_count_ - stuck_count_ <= Wanted();
}

bool PreadReadQueue::Threads::MakeCalls(Call& call) {
  while (!call.progress.finished()) {
    // Ends early when the queue does.
    if (call.progress.part().pause > absl::ZeroDuration()) {
      mu_.AwaitWithTimeout(absl::Condition(&stopping_), call.progress.part().pause);
    }
    if (stopping_) return false;
    call.offset = call.progress.part().offset;
    call.started = SteadyNow();
    mu_.Unlock();
    RunPart(call.progress, pread_);
    mu_.Lock();
    call.started = absl::InfiniteFuture();
    if (call.stuck) return false;
  }
  return true;
}

absl::StatusOr<std::unique_ptr<ReadQueue>> PreadReadQueue::Create(const ReadQueueOptions& options,
                                                                  PreadFunction pread,
                                                                  Warnings fallbacks) {
  RETURN_IF_ERROR(options.Validate());
  auto threads = std::make_shared<Threads>(options, std::move(pread));
  if (absl::Status started = threads->Start(fallbacks); !started.ok()) {
    threads->Stop();
    return started;
  }
  return std::unique_ptr<ReadQueue>(
      new PreadReadQueue(options, std::move(fallbacks), std::move(threads)));
}

PreadReadQueue::~PreadReadQueue() { threads_->Stop(); }

int PreadReadQueue::wake_descriptor() const { return threads_->wake_descriptor(); }

absl::Status PreadReadQueue::Submit(const ReadRequest& request) {
  if (in_flight_count_ == options_.depth) return QueueFullError(options_.depth);
  RETURN_IF_ERROR(ValidateReadRequest(request, options_.slots));
  if (request.file->descriptor(request.mode) < 0) {
    return absl::InvalidArgumentError("read of a file without a descriptor");
  }
  RETURN_IF_ERROR(CheckNotTooManyStuck(request, stuck_count_, options_));
  ++in_flight_count_;
  threads_->Submit(request);
  return absl::OkStatus();
}

absl::Status PreadReadQueue::Poll(absl::Duration timeout,
                                  absl::FunctionRef<void(const ReadDone&)> done) {
  if (in_flight_count_ + stuck_count_ == 0) return absl::OkStatus();
  for (const ReadDone& read : threads_->Collect(timeout)) {
    CountDone(read, in_flight_count_, stuck_count_);
    done(read);
  }
  return absl::OkStatus();
}

}  // namespace weightd
