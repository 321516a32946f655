#ifndef WEIGHTD_DAEMON_RESIDENCY_STAGE_RUNNER_H_
#define WEIGHTD_DAEMON_RESIDENCY_STAGE_RUNNER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "daemon/catalog/catalog.h"
#include "daemon/residency/event_log.h"
#include "daemon/residency/report_log.h"
#include "daemon/residency/residency_table.h"
#include "daemon/residency/stage_job.h"
#include "daemon/staging/stager.h"

// The body of a stage job, from name to resident generation:
//
//   find -> open, read headers -> admit (evicting) -> allocate -> read -> check unchanged -> seal
//   -> publish
//
// Thread-safe: workers run their jobs side by side.

namespace weightd {

// Gives back what the books doomed: destroys allocations, tells the books, publishes an event each.
// Blocks for as long as the system or the driver takes.
void FreeDoomed(std::vector<Doomed> doomed, ResidencyTable& table, EventLog& events);

class StageRunner {
 public:
  // Called after a generation was published, before its job is done. Must not block.
  using PublishListener = std::function<void(const GenerationContent&)>;

  StageRunner(const Catalog& catalog, ResidencyTable& table, EventLog& events, ReportLog& reports,
              const Clock& clock)
      : catalog_(catalog), table_(table), events_(events), reports_(reports), clock_(clock) {}

  // When it returns, the listener before is not called any more.
  void set_publish_listener(PublishListener listener);

  // Runs `job` to its end; the outcome is in the job, in the books and in an event.
  void Run(StageJob& job, Device& device, Stager& stager);

  // The end of a job that cannot be run: tells the job and publishes the event.
  void Fail(StageJob& job, const absl::Status& status);
  // Likewise, of one that was cancelled while it waited.
  void FailCancelled(StageJob& job);

 private:
  struct Plan {
    OpenedCheckpoint opened;
    Layout layout;
    std::vector<FileIdentity> identities;
    absl::Duration plan_time;
    absl::Time made_time;
  };

  absl::Status Stage(StageJob& job, Device& device, Stager& stager);
  absl::StatusOr<Plan> MakePlan(const StageJob& job, const Device& device) const;
  absl::StatusOr<GenerationId> Admit(const StageJob& job, uint64_t bytes);
  absl::StatusOr<std::shared_ptr<const GenerationContent>> Fill(StageJob& job, Device& device,
                                                                Stager& stager, Plan& plan,
                                                                GenerationId id,
                                                                Allocation& allocation);
  void Publish(StageJob& job, const std::shared_ptr<const GenerationContent>& content,
               std::unique_ptr<Allocation> allocation);
  bool AnswerFromResident(StageJob& job, const Plan& plan);
  void PublishPinned(const StageJob& job, const GenerationContent& content);

  const Catalog& catalog_;
  ResidencyTable& table_;
  EventLog& events_;
  ReportLog& reports_;
  const Clock& clock_;

  absl::Mutex listener_mu_;  // held while the listener runs: it does not block
  PublishListener listener_ ABSL_GUARDED_BY(listener_mu_);
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_STAGE_RUNNER_H_
