#include "daemon/storage/split_read_queue.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "common/status_macros.h"
#include "daemon/storage/read_request.h"
#include "daemon/storage/steady_time.h"

namespace weightd {
namespace {

// A read that pauses before its next try, or stalls, wakes nobody: this often a queue is asked.
constexpr absl::Duration kLookInterval = absl::Milliseconds(10);

std::vector<std::string> Joined(const ReadQueue& a, const ReadQueue& b) {
  std::vector<std::string> all = a.fallbacks();
  all.insert(all.end(), b.fallbacks().begin(), b.fallbacks().end());
  return all;
}

}  // namespace

SplitReadQueue::SplitReadQueue(std::unique_ptr<ReadQueue> direct,
                               std::unique_ptr<ReadQueue> buffered, uint32_t depth)
    : direct_(std::move(direct)),
      buffered_(std::move(buffered)),
      depth_(depth),
      fallbacks_(Joined(*direct_, *buffered_)) {}

absl::Status SplitReadQueue::Submit(const ReadRequest& request) {
  RETURN_IF_ERROR(broken_);
  if (in_flight() == depth_) return QueueFullError(depth_);
  return (request.mode == ReadMode::kDirect ? direct_ : buffered_)->Submit(request);
}

absl::Status SplitReadQueue::Poll(absl::Duration timeout,
                                  absl::FunctionRef<void(const ReadDone&)> done) {
  RETURN_IF_ERROR(broken_);
  if (buffered_->in_flight() == 0) {
    broken_ = direct_->Poll(timeout, done);
  } else if (direct_->in_flight() == 0) {
    broken_ = buffered_->Poll(timeout, done);
  } else {
    broken_ = PollBoth(timeout, done);
  }
  return broken_;
}

absl::Status SplitReadQueue::PollBoth(absl::Duration timeout,
                                      absl::FunctionRef<void(const ReadDone&)> done) {
  const absl::Time deadline = SteadyNow() + timeout;
  bool delivered = false;
  const auto deliver = [&](const ReadDone& read) {
    delivered = true;
    done(read);
  };
  while (true) {
    RETURN_IF_ERROR(direct_->Poll(absl::ZeroDuration(), deliver));
    RETURN_IF_ERROR(buffered_->Poll(absl::ZeroDuration(), deliver));
    const absl::Duration left = deadline - SteadyNow();
    if (delivered || left <= absl::ZeroDuration()) return absl::OkStatus();
    std::array<pollfd, 2> sources = {pollfd{direct_->wake_descriptor(), POLLIN, 0},
                                     pollfd{buffered_->wake_descriptor(), POLLIN, 0}};
    const timespec wait = absl::ToTimespec(std::min(left, kLookInterval));
    // An interruption or a failure is an early look.
    (void)::ppoll(sources.data(), sources.size(), &wait, nullptr);
  }
}

}  // namespace weightd
