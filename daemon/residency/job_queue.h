#ifndef WEIGHTD_DAEMON_RESIDENCY_JOB_QUEUE_H_
#define WEIGHTD_DAEMON_RESIDENCY_JOB_QUEUE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/residency/job_places.h"
#include "daemon/residency/stage_job.h"

namespace weightd {

// A caller's share in a job: call job->Leave(user) when not interested any more.
struct StageTicket {
  std::shared_ptr<StageJob> job;
  uint32_t user = 0;
  bool joined = false;  // the job was there already
};

struct JobQueueOptions {
  uint32_t jobs_max = 2;           // of one volume at once, 1..16; see JobPlaces
  uint32_t lanes_max = 8;          // volumes of which so many run; see JobPlaces
  uint32_t queue_max = 256;        // of clients and operators, waiting, 1..4096
  uint32_t jobs_per_uid_max = 64;  // that one uid pays for, waiting or running, 1..4096
  absl::Status Validate() const;
};

// Jobs that the daemon itself wants, waiting: one for each pin, preload and resident model at most,
// of which there are fewer.
inline constexpr uint32_t kOwnJobsMax = 16384;
// Jobs that operators may add to a queue that clients have filled.
inline constexpr uint32_t kOperatorJobsReserve = 16;

// The jobs that wait and those that run. Of those that may run (JobPlaces), the next is one that
// the user waits for who was served least recently, of those the one with the highest priority, of
// those the oldest; the daemon, for what it wants by itself, is one of the users. Who joins a job
// waits for it like the one who began it: it stands where the best of them would. Two jobs for one
// model and device never run at once, so that the second finds what the first made. What a call
// costs grows with the jobs that wait, and for the places that it tells with n log n of those.
// Thread-compatible.
class JobQueue {
 public:
  explicit JobQueue(const JobQueueOptions& options)
      : options_(options), next_(queue_.end()), places_(options.jobs_max, options.lanes_max) {}
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  // Joins a job that does what `task` asks for, or adds one. The daemon's own jobs (below
  // kOperator) take no client's place, also once users join them: neither limit of the options
  // counts them, nor holds them up.
  // RESOURCE_EXHAUSTED/LIMIT_EXCEEDED.
  absl::StatusOr<StageTicket> Submit(StageTask task, const StageCaller& caller);

  bool HasNext() const { return next_ != queue_.end(); }
  // Moves the next job to those that run; null if none may run now.
  std::shared_ptr<StageJob> TakeNext();
  void Ended(const std::shared_ptr<StageJob>& job);
  // Of one that runs and belongs into another lane, as planning has found: whether it goes on
  // there. Where that lane has no place for it, it is to be put back.
  bool Move(const std::shared_ptr<StageJob>& job, const std::string& lane);
  void PutBack(const std::shared_ptr<StageJob>& job);
  // Takes those out that nobody waits for any more.
  std::vector<std::shared_ptr<StageJob>> TakeCancelled();
  void CancelAll();

  // How many jobs run before each that waits, as far as that can be told now: those that run, and
  // those whose turn comes first; of the daemon's own, that all users' come first.
  struct Places {
    uint64_t version = 0;
    std::vector<std::pair<std::shared_ptr<StageJob>, uint32_t>> jobs_ahead;
  };
  // Those that changed since the last call, found in one pass over the queue. Whoever changed the
  // queue takes them, and tells them once it holds no lock: the job keeps what is newest.
  Places TakePlaces();
  static void Tell(const Places& places);

  // Whether a job for `model` has told its end and not let go of everything yet.
  bool IsEnding(const std::string& model) const;
  // Not final: those for `model` on `device`, or on any if empty.
  std::vector<std::shared_ptr<StageJob>> JobsFor(const std::string& model,
                                                 const std::string& device) const;
  // A line for each that runs: its model and what it does.
  std::vector<std::string> DescribeRunning() const;
  // Jobs that ever run at once.
  uint32_t running_max() const { return places_.max(); }
  uint32_t running() const { return static_cast<uint32_t>(running_.size()); }
  uint32_t queued() const { return static_cast<uint32_t>(queue_.size()); }
  bool empty() const { return queue_.empty(); }

 private:
  // The order in which jobs run: the most urgent, of those the oldest.
  struct Place {
    JobPriority priority = JobPriority::kRefresh;
    uint64_t id = 0;
    friend bool operator<(const Place& a, const Place& b) {
      return a.priority != b.priority ? a.priority > b.priority : a.id < b.id;
    }
  };
  struct Waiting {
    std::shared_ptr<StageJob> job;
    JobUsers users = {};
    std::optional<uint32_t> told_ahead = {};
  };
  using Queue = std::map<Place, Waiting>;

  // Jobs that `uid` pays for: those that users began, and that he waits for longest.
  uint32_t CountOf(uint32_t uid) const;
  // kOperator has a reserve.
  absl::Status CheckLimits(const std::string& model, const StageCaller& caller) const;
  bool MayRun(const Waiting& waiting) const;
  // Of the one of them who was served least recently.
  uint64_t TurnOf(const JobUsers& users) const;
  // Of who was not served yet: before the one who was served last, and not before those who have
  // waited since an earlier turn.
  uint64_t ArrivalTurn() const { return last_turn_ == 0 ? 0 : last_turn_ - 1; }
  // Of two that may run.
  bool IsBefore(const Queue::value_type& a, const Queue::value_type& b) const;
  // Those of users, in the order of their turns.
  std::vector<Waiting*> UsersInTurn();
  void Insert(const Place& place, Waiting waiting);
  Waiting Remove(Queue::iterator at);
  void Forget(const std::shared_ptr<StageJob>& job);
  // After `caller` joined it: moves it to where it belongs now.
  void MoveUp(const std::shared_ptr<StageJob>& job, JobPriority before, const StageCaller& caller);
  static void AddUser(const StageCaller& caller, JobUsers& users);
  // It runs no more.
  void LeavePlace(const std::shared_ptr<StageJob>& job);
  // Those who left it meanwhile are out.
  void Prune(Waiting& waiting);
  void FindNext();

  const JobQueueOptions options_;
  uint64_t next_id_ = 1;
  Queue queue_;
  Queue::iterator next_;  // in queue_, or its end
  JobPlaces places_;
  std::vector<std::shared_ptr<StageJob>> running_;
  // Of both, by model.
  std::unordered_map<std::string, std::vector<std::shared_ptr<StageJob>>> by_model_;
  uint32_t users_queued_ = 0;                             // those that users began
  std::unordered_map<uint32_t, uint32_t> waited_for_by_;  // jobs that wait, by user
  // When each user was served last; of those alone for whom jobs wait.
  std::unordered_map<uint32_t, uint64_t> turns_;
  uint64_t last_turn_ = 0;
  bool places_changed_ = false;
  uint64_t places_version_ = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_JOB_QUEUE_H_
