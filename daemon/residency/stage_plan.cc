#include "daemon/residency/stage_plan.h"

#include <utility>

#include "common/status_macros.h"

namespace weightd {
namespace {

void SetSource(HeldCopy held, const StageContext& context, StagePlan& plan) {
  plan.source = std::make_unique<CopyHold>(std::move(held), context.unhold);
  plan.identities = plan.source->content().identities;
  plan.revision = plan.source->content().revision;
}

absl::Status OpenFiles(const StageContext& context, const StageJob& job, StagePlan& plan) {
  const StageTask& task = job.task();
  // Who joins waits for what he asked for himself, too, and not only for what the others did.
  const VolumeUsers users([&job] {
    VolumeUsers::Uids uids;
    for (const auto& [user, priority] : job.users()) {
      uids.insert(user == kDaemonUser ? std::nullopt : std::optional(user));
    }
    return uids;
  });
  ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                   context.catalog.Find(task.ref.model, task.ref.revision, users));
  ASSIGN_OR_RETURN(OpenedCheckpoint opened, context.catalog.Open(checkpoint, users));
  plan.opened = std::make_shared<OpenedCheckpoint>(std::move(opened));
  for (const auto& file : plan.opened->files) plan.identities.push_back(file->identity());
  plan.revision = plan.opened->checkpoint.revision;
  plan.current = task.ref.revision.empty();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StagePlan> MakeStagePlan(const StageContext& context, StageJob& job) {
  const StageTask& task = job.task();
  StagePlan plan;
  plan.made_time = context.clock.Now();
  plan.asked_revision = task.ref.revision;
  if (task.source != StageSource::kVolume || task.ref.generation.has_value()) {
    absl::StatusOr<HeldCopy> held = context.table.HoldAny(task.ref);
    const bool volume_will_do =
        task.source != StageSource::kResident && !task.ref.generation.has_value();
    if (!held.ok() && !volume_will_do) return held.status();
    if (held.ok()) {
      SetSource(*std::move(held), context, plan);
      return plan;
    }
  }
  RETURN_IF_ERROR(OpenFiles(context, job, plan));
  if (!job.wishes().restage) {
    HeldCopy held = context.table.HoldIdentical(task.ref.model, plan.identities);
    // Whoever joins after this and wishes it read gets another job.
    if (held.content != nullptr && job.RefuseRestage()) {
      plan.opened.reset();
      SetSource(std::move(held), context, plan);
    } else if (held.content != nullptr) {
      const CopyHold not_needed(std::move(held), context.unhold);
    }
  }
  const absl::Time now = context.clock.Now();
  plan.plan_time = now - plan.made_time;
  plan.made_time = now;
  return plan;
}

}  // namespace weightd
