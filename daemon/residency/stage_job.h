#ifndef WEIGHTD_DAEMON_RESIDENCY_STAGE_JOB_H_
#define WEIGHTD_DAEMON_RESIDENCY_STAGE_JOB_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "daemon/residency/generation.h"

// One stage, as those see it who wait for it.

namespace weightd {

// In order; kDone and kFailed are final.
enum class StagePhase { kQueued, kPlanning, kReading, kPublishing, kDone, kFailed };

struct StageSnapshot {
  JobId job;
  std::string model;
  std::string device;
  StagePhase phase = StagePhase::kQueued;
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  uint64_t bytes_per_second = 0;
  absl::Status status;                               // why, with kFailed
  std::shared_ptr<const GenerationContent> content;  // with kDone
  bool already_resident = false;                     // with kDone: nothing was read

  bool final() const { return phase == StagePhase::kDone || phase == StagePhase::kFailed; }
};

// One who is interested in a job.
struct StageCaller {
  bool detached = false;  // never leaves
  bool pin = false;       // wants it pinned as soon as it is resident
  bool restage = false;   // wants it read, also when a resident copy is unchanged
};

// What the callers of a job want, together.
struct StageWishes {
  bool pin = false;
  bool restage = false;
  friend bool operator==(const StageWishes&, const StageWishes&) = default;
};

// Thread-safe. The worker moves it forward, callers observe, join and leave.
class StageJob {
 public:
  using Observer = std::function<void(const StageSnapshot&)>;

  // `bytes_per_second_max` bounds its reading; 0 is no limit.
  StageJob(JobId id, std::string model, std::string device, uint64_t bytes_per_second_max = 0);

  JobId id() const { return id_; }
  const std::string& model() const { return model_; }
  const std::string& device() const { return device_; }
  uint64_t bytes_per_second_max() const { return bytes_per_second_max_; }

  // Adds an interested caller; false when the job is final or cancelled, so that there is nothing
  // to join.
  bool Join(const StageCaller& caller);
  // A caller is not interested any more: the last one that leaves cancels the job.
  void Leave();
  void Cancel() { cancelled_.store(true); }
  const std::atomic<bool>& cancelled() const { return cancelled_; }
  StageWishes wishes() const;

  // Calls `observer` with the state now, and then with each change, on the thread that makes it: it
  // must be quick and must not call back. After Unobserve() it is not called any more.
  uint64_t Observe(Observer observer);
  void Unobserve(uint64_t id);
  StageSnapshot snapshot() const;

  // For the worker. Reading progress is passed on at most every 100 ms.
  void EnterPhase(StagePhase phase, absl::Time now);
  void SetTotal(uint64_t bytes_total);
  void SetBytesDone(uint64_t bytes_done, absl::Time now);
  // Done, unless somebody who joined meanwhile wishes more than `met`: then it returns false and
  // nothing changes.
  bool Finish(std::shared_ptr<const GenerationContent> content, bool already_resident,
              const StageWishes& met);
  void Fail(absl::Status status);

 private:
  void Notify() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const JobId id_;
  const std::string model_;
  const std::string device_;
  const uint64_t bytes_per_second_max_;
  std::atomic<bool> cancelled_ = false;

  mutable absl::Mutex mu_;  // held while observers run: they only enqueue
  StageSnapshot snapshot_ ABSL_GUARDED_BY(mu_);
  uint32_t interested_ ABSL_GUARDED_BY(mu_) = 0;
  bool detached_ ABSL_GUARDED_BY(mu_) = false;
  StageWishes wishes_ ABSL_GUARDED_BY(mu_);
  absl::Time reading_since_ ABSL_GUARDED_BY(mu_);
  absl::Time last_notified_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  uint64_t next_observer_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<uint64_t, Observer> observers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_STAGE_JOB_H_
