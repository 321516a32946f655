#ifndef WEIGHTD_DAEMON_SERVICE_BLOCKING_POOL_H_
#define WEIGHTD_DAEMON_SERVICE_BLOCKING_POOL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/strong_id.h"
#include "common/thread.h"

namespace weightd {

using TaskId = StrongId<struct TaskTag>;

struct BlockingPoolOptions {
  std::string name;      // of its threads
  uint32_t threads = 1;  // of one uid at most all but one run at once, where there are several
  uint32_t waiting_max = 1024;
  uint32_t waiting_per_uid_max = 256;
};

// A few threads for what may block (files, freeing memory, waiting for holders), so that gRPC's own
// threads never do and health checks are answered meanwhile. Users take turns: who submits much
// waits for itself. Thread-safe.
class BlockingPool {
 public:
  static absl::StatusOr<std::unique_ptr<BlockingPool>> Start(const BlockingPoolOptions& options);
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;
  // Runs what was submitted, then ends.
  ~BlockingPool();

  // Runs `task` for `uid`, without locks. RESOURCE_EXHAUSTED/LIMIT_EXCEEDED when too many tasks
  // wait already, of all or of the uid: `task` is then destroyed without having run.
  absl::StatusOr<TaskId> Submit(uint32_t uid, std::function<void()> task);
  // Takes out a task that waits: true, and it does not run.
  bool Withdraw(TaskId id);

 private:
  struct Task {
    TaskId id;
    uint32_t uid = 0;
    std::function<void()> run;
  };
  struct User {
    std::deque<Task> waiting;
    uint32_t running = 0;
  };

  explicit BlockingPool(const BlockingPoolOptions& options) : options_(options) {}
  void Work();
  // The next task of the user whose turn it is; false when none may run now.
  bool Take(Task& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MayRun(const User& user) const;
  bool HasNext() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void Ended(uint32_t uid);

  const BlockingPoolOptions options_;
  absl::Mutex mu_;  // never held while a task runs
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  uint32_t waiting_ ABSL_GUARDED_BY(mu_) = 0;
  // Those who have something that waits or runs.
  std::map<uint32_t, User> users_ ABSL_GUARDED_BY(mu_);
  std::deque<uint32_t> turns_ ABSL_GUARDED_BY(mu_);  // the users whose tasks wait, the next first
  std::vector<Thread> threads_;                      // last: they use the rest
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_BLOCKING_POOL_H_
