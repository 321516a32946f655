#ifndef WEIGHTD_DAEMON_RESIDENCY_JOB_QUEUE_H_
#define WEIGHTD_DAEMON_RESIDENCY_JOB_QUEUE_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/residency/stage_job.h"

namespace weightd {

// A caller's share in a job: call Leave() on the job when not interested any more.
struct StageTicket {
  std::shared_ptr<StageJob> job;
  bool joined = false;  // the job was there already
};

struct JobQueueOptions {
  uint32_t queue_max = 256;        // jobs waiting, 1..4096
  uint32_t jobs_per_uid_max = 64;  // begun by one uid, waiting or running, 1..4096
  absl::Status Validate() const;
};

// The jobs that wait and those that run. The one with the highest priority is next, of those the
// oldest; two jobs for one model and device never run at once, so that the second finds what the
// first made. Thread-compatible.
class JobQueue {
 public:
  explicit JobQueue(const JobQueueOptions& options) : options_(options) {}

  // Joins a job that does what `task` asks for, or adds one. The daemon's own jobs (below
  // kOperator) are not counted for a uid. RESOURCE_EXHAUSTED/LIMIT_EXCEEDED.
  absl::StatusOr<StageTicket> Submit(StageTask task, const StageCaller& caller);

  bool HasNext() const;
  // Moves the next job to those that run; null if none may run now.
  std::shared_ptr<StageJob> TakeNext();
  void Ended(const std::shared_ptr<StageJob>& job);
  // Takes those out that nobody waits for any more.
  std::vector<std::shared_ptr<StageJob>> TakeCancelled();
  void CancelAll();

  // Whether a job for `model` has told its end and not let go of everything yet.
  bool IsEnding(const std::string& model) const;
  // Not final: those for `model` on `device`, or on any if empty.
  std::vector<std::shared_ptr<StageJob>> JobsFor(const std::string& model,
                                                 const std::string& device) const;
  // A line for each that runs: its model and what it does.
  std::vector<std::string> DescribeRunning() const;
  uint32_t running() const { return static_cast<uint32_t>(running_.size()); }
  uint32_t queued() const { return static_cast<uint32_t>(queue_.size()); }
  bool empty() const { return queue_.empty(); }

 private:
  size_t NextIndex() const;  // queue_.size() if none
  void TellPlaces() const;
  uint32_t CountOf(uint32_t uid) const;

  const JobQueueOptions options_;
  uint64_t next_id_ = 1;
  std::deque<std::shared_ptr<StageJob>> queue_;  // oldest first
  std::vector<std::shared_ptr<StageJob>> running_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_JOB_QUEUE_H_
