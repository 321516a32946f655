#ifndef WEIGHTD_DAEMON_SERVICE_BLOCKING_POOL_H_
#define WEIGHTD_DAEMON_SERVICE_BLOCKING_POOL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace weightd {

// A few threads for what may block (directories, files, freeing memory), so that gRPC's own threads
// never do and health checks are answered meanwhile. Thread-safe.
class BlockingPool {
 public:
  BlockingPool(uint32_t threads, uint32_t queue_max);
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;
  // Runs what was submitted, then ends.
  ~BlockingPool();

  // RESOURCE_EXHAUSTED/LIMIT_EXCEEDED when `queue_max` tasks wait already: `task` is then destroyed
  // without having run.
  absl::Status Submit(std::function<void()> task);

 private:
  void Work();

  const uint32_t queue_max_;
  absl::Mutex mu_;
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_BLOCKING_POOL_H_
