#include "daemon/storage/split_read_queue.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "common/status_macros.h"
#include "common/steady_time.h"
#include "daemon/storage/read_request.h"

namespace weightd {
namespace {

// A read that pauses before its next try, or stalls, wakes nobody: this often a queue is asked.
constexpr absl::Duration kLookInterval = absl::Milliseconds(10);
// Of the queues.
constexpr size_t kDirect = 0;
constexpr size_t kBuffered = 1;
constexpr size_t kFuse = 2;

}  // namespace

SplitReadQueue::SplitReadQueue(std::unique_ptr<ReadQueue> direct,
                               std::unique_ptr<ReadQueue> buffered, MakeQueue make_fuse,
                               uint32_t depth)
    : make_fuse_(std::move(make_fuse)), depth_(depth) {
  for (auto* queue : {&direct, &buffered}) {
    fallbacks_.insert(fallbacks_.end(), (*queue)->fallbacks().begin(), (*queue)->fallbacks().end());
    queues_.push_back(std::move(*queue));
  }
}

uint32_t SplitReadQueue::in_flight() const {
  uint32_t count = 0;
  for (const auto& queue : queues_) count += queue->in_flight();
  return count;
}

uint32_t SplitReadQueue::stuck() const {
  uint32_t count = 0;
  for (const auto& queue : queues_) count += queue->stuck();
  return count;
}

absl::StatusOr<ReadQueue*> SplitReadQueue::QueueFor(const ReadRequest& request) {
  if (request.file == nullptr || EngineFor(engine(), *request.file) == engine()) {
    return queues_[request.mode == ReadMode::kDirect ? kDirect : kBuffered].get();
  }
  if (queues_.size() == kFuse) {
    ASSIGN_OR_RETURN(auto queue, make_fuse_());
    queues_.push_back(std::move(queue));
  }
  return queues_[kFuse].get();
}

absl::Status SplitReadQueue::Submit(const ReadRequest& request) {
  RETURN_IF_ERROR(broken_);
  if (in_flight() == depth_) return QueueFullError(depth_);
  ASSIGN_OR_RETURN(ReadQueue* const queue, QueueFor(request));
  return queue->Submit(request);
}

absl::Status SplitReadQueue::Poll(absl::Duration timeout,
                                  absl::FunctionRef<void(const ReadDone&)> done) {
  RETURN_IF_ERROR(broken_);
  std::vector<ReadQueue*> busy;
  for (const auto& queue : queues_) {
    if (queue->in_flight() + queue->stuck() > 0) busy.push_back(queue.get());
  }
  if (busy.empty()) busy.push_back(queues_.front().get());
  broken_ = busy.size() == 1 ? busy.front()->Poll(timeout, done) : PollAll(timeout, done);
  return broken_;
}

absl::Status SplitReadQueue::PollAll(absl::Duration timeout,
                                     absl::FunctionRef<void(const ReadDone&)> done) {
  const absl::Time deadline = SteadyNow() + timeout;
  bool delivered = false;
  const auto deliver = [&](const ReadDone& read) {
    delivered = true;
    done(read);
  };
  while (true) {
    std::vector<pollfd> sources;
    // By number: what is called back may make the last queue.
    for (size_t i = 0; i < queues_.size(); ++i) {
      RETURN_IF_ERROR(queues_[i]->Poll(absl::ZeroDuration(), deliver));
      sources.push_back({queues_[i]->wake_descriptor(), POLLIN, 0});
    }
    const absl::Duration left = deadline - SteadyNow();
    if (delivered || left <= absl::ZeroDuration()) return absl::OkStatus();
    const timespec wait = absl::ToTimespec(std::min(left, kLookInterval));
    // An interruption or a failure is an early look.
    (void)::ppoll(sources.data(), sources.size(), &wait, nullptr);
  }
}

}  // namespace weightd
