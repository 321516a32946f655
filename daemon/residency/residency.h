#ifndef WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_H_
#define WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/clock.h"
#include "common/executor.h"
#include "common/listener.h"
#include "common/warning.h"
#include "daemon/catalog/catalog.h"
#include "daemon/device/device.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/evictor.h"
#include "daemon/residency/job_queue.h"
#include "daemon/residency/job_runner.h"
#include "daemon/residency/reaper.h"
#include "daemon/residency/residency_table.h"
#include "daemon/residency/scrubber.h"
#include "daemon/residency/stage_context.h"
#include "daemon/residency/stage_job.h"
#include "daemon/residency/verifier.h"
#include "daemon/staging/key_source.h"
#include "daemon/staging/stager.h"

// Which models are in memory, and the jobs that bring them there.
//
// Models are named as on the wire: `name`, `name@generation`, `name@revision`; INVALID_ARGUMENT/
// INVALID_REQUEST or PATH_OUTSIDE_ROOT for what is no such name.
//
// Thread-safe. Stage(), Acquire(), Release() and the lists never block on I/O; Evict() takes as
// long as giving memory back does.

namespace weightd {

// What holds for stages that do not say otherwise.
struct StageDefaults {
  uint64_t bytes_per_second_max = 0;  // of one job; 0 is no limit
  bool host_copy = false;             // of a stage to a GPU
  bool require_digest = false;        // a model without a digest manifest is refused
  VerifyMode verify = VerifyMode::kFast;
};

struct ResidencyOptions {
  TableOptions table;
  std::string default_device;  // what a request without a device means; "" for none
  JobQueueOptions queue;
  StageDefaults defaults;
  KeySourceOptions keys;
  ScrubOptions scrub;
  StagerOptions stager;
  // What the daemon before this one left.
  std::vector<Pin> pins;
  LastUses last_uses;

  absl::Status Validate() const;
};

// Devices of one stage.
inline constexpr size_t kStageDevicesMax = 64;

struct StageRequest {
  std::string model;
  std::vector<std::string> devices = {};  // none: the default device
  bool pin = false;
  bool detached = false;               // the job goes on although the caller leaves
  bool restage = false;                // also when a resident copy is unchanged
  uint64_t bytes_per_second_max = 0;   // of the volume; 0 takes the options'
  std::optional<bool> host_copy = {};  // keep a copy in the host tier too; none takes the options'
  std::optional<VerifyMode> verify = {};  // likewise
  StageSource source = StageSource::kVolume;
  JobPriority priority = JobPriority::kOperator;
  uint32_t uid = 0;
};

// What the read path runs on.
struct ReadPathInfo {
  ReadEngine engine = ReadEngine::kPread;
  Warnings fallbacks;
  uint64_t block_bytes = 0;
  uint64_t pool_bytes = 0;  // of all devices
  PageKind pool_pages = PageKind::kSmall;
};

class Residency {
 public:
  // A held copy was superseded by generation `newer`.
  using SupersedeListener = std::function<void(CopyId old, GenerationId newer)>;
  using DamageListener = Verifier::DamageListener;
  using StageListener = ReportLog::Call;

  // Starts the workers; their rings and staging buffers are made before this returns, or it fails.
  // Everything referenced must outlive it; `devices` have budgets in `options`. Threads, waits
  // among them and the time that they take are the executor's.
  static absl::StatusOr<std::unique_ptr<Residency>> Create(
      const ResidencyOptions& options, const Catalog& catalog,
      std::vector<std::shared_ptr<Device>> devices, EventLog& events, const Clock& clock,
      Executor& executor);
  Residency(const Residency&) = delete;
  Residency& operator=(const Residency&) = delete;
  // Shutdown(), then frees everything; no lease and no hold may be left. Waits for what hangs.
  ~Residency();

  // For the stages that begin from now on.
  void set_stage_defaults(const StageDefaults& defaults);

  // Starts or joins a job. NOT_FOUND/DEVICE_NOT_FOUND, RESOURCE_EXHAUSTED/LIMIT_EXCEEDED at the
  // jobs of the queue or of the uid, UNAVAILABLE/DRAINING after Shutdown(). Everything else is the
  // job's outcome.
  absl::StatusOr<StageTicket> Stage(const StageRequest& request);

  // Likewise, for an attach that found nothing on the device that it means. What is resident on
  // another one is copied from there; what is not resident anywhere is staged if `wait` says so,
  // and else refused with MODEL_NOT_RESIDENT.
  absl::StatusOr<StageTicket> StageForAttach(const std::string& model, const std::string& device,
                                             bool wait, uint32_t uid);

  struct Evicted {
    uint64_t bytes = 0;
    uint64_t demoted_bytes = 0;  // of them, kept in the host tier
    uint32_t copies = 0;
    std::vector<CopyInfo> revoking;  // by force: they go with their last holder
  };
  // Errors as ResidencyTable::Evict, and MODEL_BUSY while a job stages it there.
  absl::StatusOr<Evicted> Evict(const std::string& model, const std::string& device, bool force);
  // Waits until none of these copies is in memory any more, or the deadline.
  bool AwaitGone(const std::vector<CopyInfo>& copies, absl::Time deadline) const {
    return table_.AwaitGone(copies, deadline);
  }

  absl::StatusOr<std::vector<CopyInfo>> SetPinned(const std::string& model,
                                                  const std::string& device, bool pinned);

  // Counts a lease on what is resident on `device`; if empty, on the default device, or anywhere
  // where there is none. The caller gives it back with Release().
  absl::StatusOr<HeldCopy> Acquire(const std::string& model, const std::string& device);
  // Likewise, of a copy on which the caller has a hold. MODEL_BUSY while it is evicted by force.
  absl::StatusOr<HeldCopy> AcquireHeld(const CopyHold& hold);
  void Release(CopyId id);
  // Of a copy that the caller holds.
  CopyInfo InfoOf(CopyId id) const { return table_.InfoOf(id); }

  // Called on a worker's thread, without locks. When this returns, the listener before is not
  // called any more; null is none. It must not block.
  void set_supersede_listener(SupersedeListener listener);
  void set_damage_listener(DamageListener listener);
  // Of every stage that has ended, before its callers know. See ReportLog.
  void set_stage_listener(StageListener listener) { reports_.set_listener(std::move(listener)); }

  // See Verifier. Takes as long as reading the memory does.
  absl::StatusOr<std::vector<VerifiedCopy>> Verify(const std::string& model,
                                                   const std::string& device,
                                                   const VerifyLimits& limits);

  std::vector<CopyInfo> List(const std::string& model = "") const { return table_.List(model); }
  std::vector<DeviceUsage> Usage() const { return table_.Usage(); }
  std::vector<Pin> pins() const { return table_.pins(); }
  // Of every model and device that was used, resident or not.
  LastUses last_uses() const;
  const std::vector<std::shared_ptr<Device>>& devices() const { return devices_; }
  const std::string& default_device() const { return options_.default_device; }
  ReadPathInfo read_path() const;
  // The last stages, the newest first.
  std::vector<StageRecord> reports() const { return reports_.List(); }
  // Those that wait or run for `model`.
  std::vector<std::shared_ptr<StageJob>> JobsFor(const std::string& model) const;

  using JobCounts = JobRunner::Counts;
  JobCounts job_counts() const { return runner_.counts(); }

  // Refuses new jobs, cancels those that wait or run, and returns when all have ended, or at
  // `deadline`. What hangs then is told, a line each: model, file and offset where they are known.
  // Unless nothing does, the process has to end without destroying this: that would wait for it.
  std::vector<std::string> Shutdown(absl::Time deadline = absl::InfiniteFuture());

  // Stages that were abandoned since their volume hangs, and whose reads have not come back.
  std::vector<StuckStage> stuck() const { return stager_->stuck(); }

 private:
  Residency(const ResidencyOptions& options, std::shared_ptr<const KeySource> keys,
            const Catalog& catalog, std::vector<std::shared_ptr<Device>> devices, EventLog& events,
            const Clock& clock, Executor& executor);
  struct Superseded {
    CopyId old;
    GenerationId newer;
  };

  absl::Status Start();
  absl::StatusOr<Device*> FindDevice(const std::string& id) const;
  absl::StatusOr<std::vector<std::string>> DevicesFor(const StageRequest& request) const;
  StageDefaults defaults() const;
  std::string LaneOf(const StageTask& task) const;
  // Ends the queued jobs that nobody waits for any more.
  void DropCancelled();
  void OnSuperseded(const CopyInfo& old, GenerationId newer);
  void OnDamaged(CopyId damaged);
  void PublishPinEvents(const std::vector<CopyInfo>& copies, bool pinned);

  const ResidencyOptions options_;
  const std::shared_ptr<const KeySource> keys_;
  const std::vector<std::shared_ptr<Device>> devices_;
  const Clock& clock_;
  Executor& executor_;
  EventLog& events_;
  ResidencyTable table_;
  ReportLog reports_;
  Evictor evictor_;
  Reaper reaper_;
  const StageContext context_;

  Listener<Superseded> supersede_listener_;
  Listener<CopyId> damage_listener_;

  mutable absl::Mutex mu_;
  StageDefaults defaults_ ABSL_GUARDED_BY(mu_);

  std::unique_ptr<Stager> stager_;  // fixed once Create() returns; outlives the workers
  JobRunner runner_;
  Verifier verifier_;
  std::unique_ptr<Scrubber> scrubber_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_RESIDENCY_H_
