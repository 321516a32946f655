#ifndef WEIGHTD_DAEMON_RESIDENCY_STAGE_PLAN_H_
#define WEIGHTD_DAEMON_RESIDENCY_STAGE_PLAN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/catalog/catalog.h"
#include "daemon/residency/copy_hold.h"
#include "daemon/residency/stage_context.h"
#include "daemon/residency/stage_job.h"
#include "daemon/staging/layout.h"

// What a stage is made from, and where its bytes will lie. Thread-compatible.

namespace weightd {

struct StagePlan {
  // One of the two: a resident copy, or the open files.
  std::unique_ptr<CopyHold> source;
  std::shared_ptr<OpenedCheckpoint> opened;

  // The volume was looked at, and has these files now.
  bool current = false;
  std::string revision;
  std::string asked_revision;
  std::vector<FileIdentity> identities;
  absl::Duration plan_time;
  absl::Time made_time;

  const Manifest& manifest() const {
    return source != nullptr ? *source->content().manifest : opened->manifest;
  }
};

// Finds what the job's source says. Reads the volume for kVolume, and for kAny where nothing is
// resident. MODEL_NOT_RESIDENT, or the catalog's errors.
absl::StatusOr<StagePlan> MakeStagePlan(const StageContext& context, StageJob& job);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_STAGE_PLAN_H_
