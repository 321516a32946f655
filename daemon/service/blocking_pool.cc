#include "daemon/service/blocking_pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

absl::Status Busy(const std::string& text) {
  return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
                         absl::StrCat("the daemon is busy: ", text, "; try again"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockingPool>> BlockingPool::Start(
    const BlockingPoolOptions& options) {
  std::unique_ptr<BlockingPool> pool(new BlockingPool(options));
  for (uint32_t i = 0; i < options.threads; ++i) {
    ASSIGN_OR_RETURN(Thread thread,
                     Thread::Start(options.name, [raw = pool.get()] { raw->Work(); }));
    pool->threads_.push_back(std::move(thread));
  }
  return pool;
}

BlockingPool::~BlockingPool() {
  {
    absl::MutexLock lock(&mu_);
    stops_ = true;
  }
  for (Thread& thread : threads_) thread.Join();
}

absl::StatusOr<TaskId> BlockingPool::Submit(uint32_t uid, std::function<void()> task) {
  absl::MutexLock lock(&mu_);
  if (waiting_ >= options_.waiting_max) {
    return Busy(absl::StrCat(options_.waiting_max, " requests wait already, requests_waiting_max"));
  }
  const auto found = users_.find(uid);
  if (found != users_.end() && found->second.waiting.size() >= options_.waiting_per_uid_max) {
    return Busy(absl::StrCat("uid ", uid, " has ", options_.waiting_per_uid_max,
                             " requests that wait, requests_waiting_per_uid_max"));
  }
  User& user = users_[uid];
  if (user.waiting.empty()) turns_.push_back(uid);
  const TaskId id(next_id_++);
  user.waiting.push_back({.id = id, .uid = uid, .run = std::move(task)});
  ++waiting_;
  return id;
}

bool BlockingPool::Withdraw(TaskId id) {
  Task withdrawn;  // goes after the lock
  absl::MutexLock lock(&mu_);
  for (auto& [uid, user] : users_) {
    const auto found = std::find_if(user.waiting.begin(), user.waiting.end(),
                                    [&](const Task& task) { return task.id == id; });
    if (found == user.waiting.end()) continue;
    withdrawn = std::move(*found);
    user.waiting.erase(found);
    --waiting_;
    if (!user.waiting.empty()) return true;
    std::erase(turns_, uid);
    if (user.running == 0) users_.erase(uid);
    return true;
  }
  return false;
}

bool BlockingPool::MayRun(const User& user) const {
  return user.running < std::max<uint32_t>(1, options_.threads - 1);
}

bool BlockingPool::HasNext() const {
  return std::any_of(turns_.begin(), turns_.end(),
                     [&](uint32_t uid)
                         ABSL_SHARED_LOCKS_REQUIRED(mu_) { return MayRun(users_.at(uid)); });
}

bool BlockingPool::Take(Task& task) {
  for (auto turn = turns_.begin(); turn != turns_.end(); ++turn) {
    const uint32_t uid = *turn;
    User& user = users_.at(uid);
    if (!MayRun(user)) continue;
    turns_.erase(turn);
    task = std::move(user.waiting.front());
    user.waiting.pop_front();
    --waiting_;
    ++user.running;
    if (!user.waiting.empty()) turns_.push_back(uid);
    return true;
  }
  return false;
}

void BlockingPool::Ended(uint32_t uid) {
  absl::MutexLock lock(&mu_);
  const auto found = users_.find(uid);
  if (--found->second.running == 0 && found->second.waiting.empty()) users_.erase(found);
}

void BlockingPool::Work() {
  while (true) {
    Task task;
    {
      absl::MutexLock lock(&mu_);
      const auto wakes = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
        return HasNext() || (stops_ && waiting_ == 0);
      };
      mu_.Await(absl::Condition(&wakes));
      if (!Take(task)) return;
    }
    task.run();
    task.run = nullptr;
    Ended(task.uid);
  }
}

}  // namespace weightd
