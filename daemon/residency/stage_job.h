#ifndef WEIGHTD_DAEMON_RESIDENCY_STAGE_JOB_H_
#define WEIGHTD_DAEMON_RESIDENCY_STAGE_JOB_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/outbox.h"
#include "daemon/catalog/model_ref.h"
#include "daemon/format/tensor_hasher.h"
#include "daemon/residency/copy_hold.h"
#include "daemon/residency/generation.h"

// One stage, as those see it who wait for it.

namespace weightd {

// In order; kDone and kFailed are final.
enum class StagePhase { kQueued, kPlanning, kReading, kPublishing, kDone, kFailed };

// Who is served first. Nobody waits for what the daemon does by itself.
enum class JobPriority {
  kRefresh,   // a changed checkpoint (KEEP_FRESH)
  kPreload,   // what the configuration or a pin wants at the start
  kOperator,  // `weightctl stage`
  kClient,    // an attach waits
};

// Whether a user waits for it, or asked for it.
inline bool IsUsers(JobPriority priority) { return priority >= JobPriority::kOperator; }

// Who waits for a job, by uid, each with what he is to it.
using JobUsers = std::map<uint32_t, JobPriority>;
// The daemon among them, for what it wants by itself.
inline constexpr uint32_t kDaemonUser = std::numeric_limits<uint32_t>::max();

// What a job may make its copies from.
enum class StageSource {
  kVolume,    // the volume decides what is current; an identical resident copy spares the reading
  kResident,  // a resident copy, whatever the volume has
  kAny,       // a resident copy, or else the volume
};

struct StageSnapshot {
  JobId job;
  std::string model;
  std::vector<std::string> devices;
  StagePhase phase = StagePhase::kQueued;
  uint32_t jobs_ahead = 0;  // with kQueued
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  uint64_t bytes_per_second = 0;
  absl::Status status;                                       // why, with kFailed
  std::vector<std::shared_ptr<const CopyContent>> contents;  // with kDone, like devices
  std::vector<std::shared_ptr<const CopyHold>> holds;        // of them; only while it is told
  bool already_resident = false;                             // with kDone: nothing was done

  bool final() const { return phase == StagePhase::kDone || phase == StagePhase::kFailed; }
};

// One who is interested in a job.
struct StageCaller {
  bool detached = false;  // never leaves
  bool pin = false;       // wants it pinned as soon as it is resident
  bool restage = false;   // wants it read, also when a resident copy is unchanged
  JobPriority priority = JobPriority::kOperator;
  uint32_t uid = 0;  // with kOperator and above

  uint32_t user() const { return IsUsers(priority) ? uid : kDaemonUser; }
};

// What the callers of a job want, together.
struct StageWishes {
  bool pin = false;
  bool restage = false;
  friend bool operator==(const StageWishes&, const StageWishes&) = default;
};

// The lane of jobs that copy what is resident, and wait for no volume.
inline constexpr char kMemoryLane[] = "memory";
// Of those that read these volumes; "" of none.
std::string LaneOf(const std::set<uint64_t>& volumes);

// What became of a job that was run.
enum class RunEnd {
  kEnded,
  kWaits,  // it waits in the queue again, for a place in its lane
};

// What a job is to do; fixed.
struct StageTask {
  ModelRef ref;
  std::vector<std::string> devices;  // at least one, each once
  StageSource source = StageSource::kVolume;
  bool host_copy = false;             // keep a copy in the host tier too, if it fits
  uint64_t bytes_per_second_max = 0;  // of the volume; 0 is no limit
  VerifyMode verify = VerifyMode::kNone;
  bool require_digest = false;  // refuse a model without a digest manifest
  // A pin, a preload, a checkpoint that changed; the queue fills it in.
  bool by_daemon = false;
  // What can hold it up, as far as it is known: see StageJob::lane().
  std::string lane = {};
};

// Thread-safe. The worker moves it forward, callers observe, join and leave.
class StageJob {
 public:
  using Observer = std::function<void(const StageSnapshot&)>;

  StageJob(JobId id, StageTask task);

  JobId id() const { return id_; }
  const StageTask& task() const { return task_; }
  const std::string& model() const { return task_.ref.model; }
  // What can hold it up: the volumes of its files, kMemoryLane, or "" while those are not known.
  std::string lane() const;
  // Planning has found it to be another one.
  void set_lane(std::string lane);
  // "host" or "GPU-1, GPU-2".
  std::string devices_text() const;

  // Adds an interested caller; false when the job is final or cancelled, or will not do what the
  // caller wishes, so that there is nothing to join.
  bool Join(const StageCaller& caller);
  // A caller (StageCaller::user()) is not interested any more: the last one that leaves cancels the
  // job, unless somebody detached it or wants it pinned.
  void Leave(uint32_t user);
  // Who is interested, by uid, each with the most urgent of what he is to it.
  JobUsers users() const;
  // Whose limits it counts for: of those, the one who came first; nobody, where no user waits.
  std::optional<uint32_t> payer() const;
  void Cancel() { cancelled_.store(true); }
  const std::atomic<bool>& cancelled() const { return cancelled_; }
  StageWishes wishes() const;
  // From here on nobody joins who wishes it read anew: the job will not read. False, and nothing
  // changes, when somebody wishes that already.
  bool RefuseRestage();
  // The highest of its callers'.
  JobPriority priority() const;

  // Calls `observer` with the state now, and then with each change, in order, on a thread that
  // makes one or asks for one: it must not block. Of changes in quick succession it may be told the
  // newest alone. After Unobserve() has returned it is not called any more.
  uint64_t Observe(Observer observer);
  void Unobserve(uint64_t id);
  StageSnapshot snapshot() const;
  bool final() const;

  // For the queue and the worker, without locks. Reading progress is passed on at most every 100
  // ms. `version` grows with each change of the queue: what comes late is passed over.
  void SetJobsAhead(uint32_t jobs, uint64_t version);
  void EnterPhase(StagePhase phase, absl::Time now);
  // It was planned, and waits again.
  void EnterQueueAgain();
  bool was_planned() const;
  void SetTotal(uint64_t bytes_total);
  void SetBytesDone(uint64_t bytes_done, absl::Time now);
  // Done, unless somebody who joined meanwhile wishes more than `met`: then it returns false and
  // nothing changes. Observers are told with the holds, and may keep them; when it returns, all who
  // observe know, and nobody else has a hold.
  bool Finish(const std::vector<std::shared_ptr<const CopyHold>>& holds, bool already_resident,
              const StageWishes& met);
  void Fail(absl::Status status);

 private:
  // Those of one user.
  struct Callers {
    uint32_t user = 0;
    uint32_t count = 0;
    bool stays = false;  // it goes on although they leave
    JobPriority priority = JobPriority::kRefresh;
  };
  using Listening = Outbox<std::shared_ptr<const StageSnapshot>>;

  void Tell();
  // Puts the state into every outbox: Tell() follows, without the lock.
  void Notify() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::vector<std::shared_ptr<Listening>> listeners() const;

  const JobId id_;
  const StageTask task_;
  std::atomic<bool> cancelled_ = false;

  mutable absl::Mutex mu_;  // never held while an observer runs
  StageSnapshot snapshot_ ABSL_GUARDED_BY(mu_);
  std::string lane_ ABSL_GUARDED_BY(mu_);
  bool was_planned_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Callers> callers_ ABSL_GUARDED_BY(mu_);  // in the order in which they came
  StageWishes wishes_ ABSL_GUARDED_BY(mu_);
  bool refuses_restage_ ABSL_GUARDED_BY(mu_) = false;
  JobPriority priority_ ABSL_GUARDED_BY(mu_) = JobPriority::kRefresh;
  uint64_t places_version_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Time reading_since_ ABSL_GUARDED_BY(mu_);
  absl::Time last_notified_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  uint64_t next_observer_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<uint64_t, std::shared_ptr<Listening>> observers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_STAGE_JOB_H_
