#include "daemon/service/blocking_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"

namespace weightd {

BlockingPool::BlockingPool(uint32_t threads, uint32_t queue_max) : queue_max_(queue_max) {
  for (uint32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

BlockingPool::~BlockingPool() {
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::Status BlockingPool::Submit(std::function<void()> task) {
  absl::MutexLock lock(&mu_);
  if (tasks_.size() >= queue_max_) {
    return ErrorWithReason(
        absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
        absl::StrCat("the daemon is busy: ", queue_max_, " requests wait already; try again"));
  }
  tasks_.push_back(std::move(task));
  return absl::OkStatus();
}

void BlockingPool::Work() {
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(
          +[](BlockingPool* self)
               ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->stops_ || !self->tasks_.empty(); },
          this));
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace weightd
