#ifndef WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_H_
#define WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/clock.h"
#include "daemon/catalog/catalog.h"
#include "daemon/device/device.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/residency_table.h"
#include "daemon/residency/stage_job.h"
#include "daemon/residency/stage_runner.h"
#include "daemon/staging/stager.h"

// Which models are in memory, and the jobs that bring them there.
//
// Thread-safe. Stage(), Acquire(), Release() and the lists never block on I/O; Evict() takes as
// long as giving memory back does.

namespace weightd {

struct ResidencyOptions {
  std::vector<DeviceBudget> budgets;  // one per device
  std::string default_device;         // what a request without a device means; "" for none
  uint32_t jobs_max = 2;              // run at once, sharing readers and staging buffers, 1..16
  uint32_t queue_max = 256;           // jobs waiting, 1..4096
  uint64_t bytes_per_second_max = 0;  // of a job that does not say; 0 is no limit
  StagerOptions stager;

  absl::Status Validate() const;
};

struct StageRequest {
  std::string model;
  std::string device = {};  // empty: the default device
  bool pin = false;
  bool detached = false;              // the job goes on although the caller leaves
  bool restage = false;               // also when a resident copy is unchanged
  uint64_t bytes_per_second_max = 0;  // of the volume; 0 takes the options'
};

// A caller's share in a job: call Leave() on the job when not interested any more.
struct StageTicket {
  std::shared_ptr<StageJob> job;
  bool joined = false;  // the job was there already
};

// What the read path runs on.
struct ReadPathInfo {
  ReadEngine engine = ReadEngine::kPread;
  std::vector<std::string> fallbacks;
  uint64_t block_bytes = 0;
  uint64_t pool_bytes = 0;  // of all devices
  PageKind pool_pages = PageKind::kSmall;
};

class Residency {
 public:
  // Starts the workers; their rings and staging buffers are made before this returns, or it fails.
  // Everything referenced must outlive it; `devices` have budgets in `options`.
  static absl::StatusOr<std::unique_ptr<Residency>> Create(
      const ResidencyOptions& options, const Catalog& catalog,
      std::vector<std::shared_ptr<Device>> devices, EventLog& events, const Clock& clock);
  Residency(const Residency&) = delete;
  Residency& operator=(const Residency&) = delete;
  // Shutdown(), then frees everything; no lease may be left.
  ~Residency();

  // Starts or joins a job. INVALID_ARGUMENT for a name that no model can have, NOT_FOUND/
  // DEVICE_NOT_FOUND, RESOURCE_EXHAUSTED/LIMIT_EXCEEDED when the queue is full,
  // UNAVAILABLE/DRAINING after Shutdown(). Everything else is the job's outcome.
  absl::StatusOr<StageTicket> Stage(const StageRequest& request);

  // Bytes freed and generations. Errors as ResidencyTable::Evict.
  struct Evicted {
    uint64_t bytes = 0;
    uint32_t generations = 0;
  };
  absl::StatusOr<Evicted> Evict(const std::string& model, const std::string& device);

  absl::StatusOr<std::vector<GenerationInfo>> SetPinned(const std::string& model,
                                                        const std::string& device, bool pinned);

  // Counts a lease; see ResidencyTable. The caller gives it back with Release().
  absl::StatusOr<HeldGeneration> Acquire(const std::string& model, const std::string& device);
  void Release(GenerationId id);
  // What took the place of a generation that the caller holds; not valid if nothing did.
  GenerationId SupersededBy(GenerationId id) const { return table_.SupersededBy(id); }

  // Told of each generation that became resident, on a worker's thread. When this returns, the
  // listener before is not called any more; null is none.
  void set_publish_listener(StageRunner::PublishListener listener);

  std::vector<GenerationInfo> List(const std::string& model = "") const;
  std::vector<DeviceUsage> Usage() const { return table_.Usage(); }
  const std::vector<std::shared_ptr<Device>>& devices() const { return devices_; }
  const std::string& default_device() const { return options_.default_device; }
  ReadPathInfo read_path() const;
  // The last stages, the newest first.
  std::vector<StageRecord> reports() const { return reports_.List(); }

  struct JobCounts {
    uint32_t running = 0;
    uint32_t queued = 0;
  };
  JobCounts job_counts() const;

  // Refuses new jobs, cancels those that wait or run, and returns when all have ended.
  void Shutdown();

 private:
  struct QueuedJob {
    std::shared_ptr<StageJob> job;
    Device* device;
  };

  Residency(const ResidencyOptions& options, const Catalog& catalog,
            std::vector<std::shared_ptr<Device>> devices, EventLog& events, const Clock& clock);
  absl::Status Start();
  absl::StatusOr<Device*> FindDevice(const std::string& id) const;
  void Work();
  bool NextJob(QueuedJob& next);
  // Of those that wait, the first that may run beside those that run.
  std::deque<QueuedJob>::iterator FirstRunnable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasWork() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The jobs for `model` on `device`, or on any if empty: queued or running.
  std::vector<std::shared_ptr<StageJob>> JobsFor(const std::string& model,
                                                 const std::string& device) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Ends the queued jobs that nobody waits for any more.
  void DropCancelled();
  void Reap();

  const ResidencyOptions options_;
  const std::vector<std::shared_ptr<Device>> devices_;
  const Clock& clock_;
  EventLog& events_;
  ResidencyTable table_;
  ReportLog reports_;
  StageRunner runner_;

  mutable absl::Mutex mu_;  // never held across I/O, a CUDA call or an RPC reply
  bool shutdown_ ABSL_GUARDED_BY(mu_) = false;
  bool reaper_stops_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_job_ ABSL_GUARDED_BY(mu_) = 1;
  std::deque<QueuedJob> queue_ ABSL_GUARDED_BY(mu_);
  // At most one for a model and device: the next one starts when it has given back all it took.
  std::vector<std::shared_ptr<StageJob>> running_ ABSL_GUARDED_BY(mu_);
  std::vector<Doomed> doomed_ ABSL_GUARDED_BY(mu_);  // for the reaper

  std::unique_ptr<Stager> stager_;  // fixed once Create() returns; outlives the workers
  std::vector<std::thread> workers_;
  std::thread reaper_;  // gives memory back for those who must not block: the ends of leases
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_H_
