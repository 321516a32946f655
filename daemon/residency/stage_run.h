#ifndef WEIGHTD_DAEMON_RESIDENCY_STAGE_RUN_H_
#define WEIGHTD_DAEMON_RESIDENCY_STAGE_RUN_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/residency/stage_context.h"
#include "daemon/residency/stage_job.h"
#include "daemon/residency/stage_plan.h"
#include "daemon/staging/stager.h"

namespace weightd {

// CANCELLED/CANCELLED once it was.
absl::Status CheckNotCancelled(const StageJob& job);

// The body of a stage job, from a name to resident copies:
//
//   plan -> admit (evicting) -> allocate -> read the files, or copy a resident copy
//        -> check that the files did not change -> seal -> publish
//
// What is resident already on one of the job's devices stays as it is; all others get their copy or
// none does. Used once, by one thread.
//
// Where the volume hangs, the stage fails. What its reads may still write to stays booked until
// they have come back; so does the table of tensors where more than reads is in flight.
class StageRun {
 public:
  StageRun(const StageContext& context, std::shared_ptr<StageJob> job);

  // Runs the job to its end; the outcome is in the job, in the books and in an event. Or until
  // planning has found that it belongs into a lane that has no place for it.
  RunEnd Run(Stager& stager);

  // The end of a job that cannot be run: tells the job, publishes the event, keeps a record.
  static void Fail(const StageContext& context, StageJob& job, const absl::Status& status);
  // Likewise, of one that was cancelled while it waited.
  static void FailCancelled(const StageContext& context, StageJob& job);

 private:
  // A copy on its way.
  struct Target {
    Device* device = nullptr;
    bool host_copy = false;
    CopyId copy = {};
    std::shared_ptr<Allocation> allocation = {};
  };

  // What reads that do not come back use. The last who lets go of it gives the memory back.
  struct Kept;

  absl::StatusOr<RunEnd> Stage(Stager& stager);
  // Whether it is among the jobs of its volumes, and may go on.
  bool IsInItsLane();
  bool AnswerFromResident();
  void TakePresent(const StageWishes& wishes);
  absl::Status ChooseTargets();
  absl::Status ChooseVerifyMode();
  // Waits until few reads of its files are out that nobody waits for.
  absl::Status AwaitSlowReads(Stager& stager) const;
  bool IsOfTheseFiles(const StuckStage& stuck) const;
  // What would only hang again is not begun: each time would take memory, and evict for it.
  absl::Status CheckNotHanging(const Stager& stager);
  // Nor what would give a volume that hangs more than half of a device.
  absl::Status CheckShareOfStuck() const;
  absl::Status Admit();
  absl::Status Allocate();
  absl::Status Fill(Stager& stager);
  absl::Status ReadFiles(Stager& stager);
  absl::Status CopyResident(Stager& stager);
  absl::Status Seal(Stager& stager);
  void Abandon();
  void Publish();
  std::shared_ptr<const CopyContent> ContentOf(const Target& target,
                                               const CopyContent& common) const;
  CopyContent CommonContent();
  absl::Time LastUse(const std::string& device) const;
  void Settle(PublishResult result);
  std::vector<std::shared_ptr<const CopyHold>> AllHolds() const;
  void PublishDone(bool already_resident) const;
  void PublishPinned() const;
  std::vector<StageTarget> StageTargets() const;
  Device* HostDevice() const;

  const StageContext& context_;
  const std::shared_ptr<StageJob> shared_job_;
  StageJob& job_;
  StagePlan plan_;
  bool volume_hangs_ = false;  // other stages of it were given up, and have not come back
  std::shared_ptr<const Manifest> manifest_;
  std::shared_ptr<const Layout> layout_;
  std::vector<std::shared_ptr<const TensorsSecretKey>> keys_;  // of the files
  std::shared_ptr<const TensorDigests> digests_;
  VerifyMode verify_ = VerifyMode::kNone;
  std::vector<FileSum> file_sums_;
  std::vector<Target> targets_;
  std::shared_ptr<Kept> kept_;                        // while files are read
  bool abandoned_ = false;                            // by the stager, who holds `kept_` too
  std::vector<std::optional<KeptParts>> kept_parts_;  // then, like the targets
  bool keeps_plan_ = true;                            // then, until the reads come back
  GenerationId generation_;
  std::vector<std::shared_ptr<const CopyHold>> present_;  // resident copies, old and new
  StageReport report_;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_STAGE_RUN_H_
