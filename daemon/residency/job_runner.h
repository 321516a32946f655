#ifndef WEIGHTD_DAEMON_RESIDENCY_JOB_RUNNER_H_
#define WEIGHTD_DAEMON_RESIDENCY_JOB_RUNNER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/executor.h"
#include "daemon/residency/job_queue.h"
#include "daemon/residency/stage_job.h"

namespace weightd {

// The jobs of a JobQueue, run by threads of its own; whoever waits in the queue is told its place.
// Thread-safe: no call but JobsLeftFor() and those at the end block.
class JobRunner {
 public:
  // Runs a job to its end, or until MoveTo() finds no place for it. Cancelled ones too, to their
  // quick end: whoever waits for them is told.
  using Run = std::function<RunEnd(const std::shared_ptr<StageJob>& job)>;

  // `executor` outlives it. `run` is called on the workers, without locks.
  JobRunner(const JobQueueOptions& options, Executor& executor, Run run)
      : executor_(executor), run_(std::move(run)), queue_(options) {}
  JobRunner(const JobRunner&) = delete;
  JobRunner& operator=(const JobRunner&) = delete;
  // Stop(), without a deadline.
  ~JobRunner();

  // With so many workers, and more where more may run at once: as they are needed, if they can be
  // had. Fails when not all of `workers` can be.
  absl::Status Start(uint32_t workers) ABSL_LOCKS_EXCLUDED(mu_);

  // See JobQueue. UNAVAILABLE/DRAINING after Stop().
  absl::StatusOr<StageTicket> Submit(StageTask task, const StageCaller& caller)
      ABSL_LOCKS_EXCLUDED(mu_);
  // For `run`: whether `job`, which runs, goes on in another lane. Where that has no place for it,
  // `run` gives up what it has and returns kWaits, and the job waits for one there.
  bool MoveTo(const std::shared_ptr<StageJob>& job, const std::string& lane)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Takes those out that nobody waits for any more: the caller ends them.
  std::vector<std::shared_ptr<StageJob>> TakeCancelled() ABSL_LOCKS_EXCLUDED(mu_);
  std::vector<std::shared_ptr<StageJob>> JobsFor(const std::string& model,
                                                 const std::string& device) const
      ABSL_LOCKS_EXCLUDED(mu_);
  // Likewise, once every job for `model` that has told its end has let go of everything. It does
  // not wait for long: one that hangs has told its end long ago.
  std::vector<std::shared_ptr<StageJob>> JobsLeftFor(const std::string& model,
                                                     const std::string& device) const
      ABSL_LOCKS_EXCLUDED(mu_);

  struct Counts {
    uint32_t running = 0;
    uint32_t queued = 0;
  };
  Counts counts() const ABSL_LOCKS_EXCLUDED(mu_);

  // Refuses new jobs, cancels those that wait or run, and returns when all have ended, or at
  // `deadline`: then with a line for each that has not.
  std::vector<std::string> Stop(absl::Time deadline) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  absl::Status StartWorker() ABSL_LOCKS_EXCLUDED(mu_);
  // Where a job may run and no worker is free.
  void StartMore() ABSL_LOCKS_EXCLUDED(mu_);
  void Work() ABSL_LOCKS_EXCLUDED(mu_);
  // Waits for one; null at the end.
  std::shared_ptr<StageJob> Next() ABSL_LOCKS_EXCLUDED(mu_);
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return (stopping_ && queue_.empty()) || queue_.HasNext();
  }

  Executor& executor_;
  const Run run_;
  mutable absl::Mutex mu_;  // never held while a job runs, or is told something
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  uint32_t working_ ABSL_GUARDED_BY(mu_) = 0;  // workers that have not ended
  uint32_t idle_ ABSL_GUARDED_BY(mu_) = 0;     // of them, those that wait for a job
  JobQueue queue_ ABSL_GUARDED_BY(mu_);
  std::vector<TaskHandle> workers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_JOB_RUNNER_H_
