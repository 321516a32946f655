#ifndef WEIGHTD_DAEMON_RESIDENCY_REAPER_H_
#define WEIGHTD_DAEMON_RESIDENCY_REAPER_H_

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "common/executor.h"
#include "daemon/residency/evictor.h"
#include "daemon/residency/table_types.h"

namespace weightd {

// Gives memory back for those who must not block, as at the end of a lease: on a thread of its own.
// Thread-safe.
class Reaper {
 public:
  // Both outlive it.
  Reaper(Evictor& evictor, Executor& executor) : evictor_(evictor), executor_(executor) {}
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;
  ~Reaper() { Stop(); }

  // Fails when the thread cannot be had.
  absl::Status Start();
  // Never blocks. Nothing may be handed over after Stop().
  void FreeLater(std::vector<Doomed> doomed) ABSL_LOCKS_EXCLUDED(mu_);
  // Returns when all that was handed over is back.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Work() ABSL_LOCKS_EXCLUDED(mu_);
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stops_ || !doomed_.empty(); }

  Evictor& evictor_;
  Executor& executor_;
  absl::Mutex mu_;  // never held while memory is given back
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Doomed> doomed_ ABSL_GUARDED_BY(mu_);
  TaskHandle thread_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_REAPER_H_
