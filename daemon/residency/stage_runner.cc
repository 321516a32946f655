#include "daemon/residency/stage_runner.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

// How long to wait for memory that others give back before looking for a cancel.
constexpr absl::Duration kFreedWait = absl::Milliseconds(100);

absl::Status CheckNotCancelled(const StageJob& job) {
  if (!job.cancelled().load()) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kCancelled, Reason::kCancelled,
                         "cancelled: nobody waits for it any more, or the daemon drains");
}

Event JobEvent(EventType type, const StageJob& job) {
  Event event;
  event.type = type;
  event.model = job.model();
  event.device = job.device();
  event.job_id = job.id().value();
  return event;
}

StageRecord JobRecord(const StageJob& job, absl::Time end_time) {
  StageRecord record;
  record.model = job.model();
  record.device = job.device();
  record.end_time = end_time;
  record.report.job = job.id();
  return record;
}

std::vector<FileIdentity> Identities(const OpenedCheckpoint& opened) {
  std::vector<FileIdentity> identities;
  for (const auto& file : opened.files) identities.push_back(file->identity());
  return identities;
}

}  // namespace

void FreeDoomed(std::vector<Doomed> doomed, ResidencyTable& table, EventLog& events) {
  for (Doomed& one : doomed) {
    one.allocation.reset();
    table.Freed(one.info.id);
    Event event;
    event.type = EventType::kEvicted;
    event.model = one.info.model;
    event.device = one.info.device;
    event.generation_id = one.info.id.value();
    event.bytes = one.info.allocated_bytes;
    event.detail = one.why;
    events.Publish(std::move(event));
  }
}

void StageRunner::set_publish_listener(PublishListener listener) {
  absl::MutexLock lock(&listener_mu_);
  listener_ = std::move(listener);
}

void StageRunner::Run(StageJob& job, Device& device, Stager& stager) {
  const absl::Status status = Stage(job, device, stager);
  // A volume that hangs told the job already.
  if (!status.ok() && !job.snapshot().final()) Fail(job, status);
}

void StageRunner::Fail(StageJob& job, const absl::Status& status) {
  const absl::Status annotated = Annotate(status, absl::StrCat("stage ", job.model()));
  Event event = JobEvent(EventType::kStageFailed, job);
  event.detail = std::string(annotated.message());
  if (const auto reason = GetReason(annotated); reason.has_value()) {
    event.reason = std::string(ReasonName(*reason));
  }
  events_.Publish(std::move(event));
  StageRecord record = JobRecord(job, clock_.Now());
  record.status = annotated;
  reports_.Add(std::move(record));
  job.Fail(annotated);
}

void StageRunner::FailCancelled(StageJob& job) { Fail(job, CheckNotCancelled(job)); }

absl::Status StageRunner::Stage(StageJob& job, Device& device, Stager& stager) {
  RETURN_IF_ERROR(CheckNotCancelled(job));
  job.EnterPhase(StagePhase::kPlanning, clock_.Now());
  events_.Publish(JobEvent(EventType::kStageStarted, job));
  ASSIGN_OR_RETURN(Plan plan, MakePlan(job, device));
  if (AnswerFromResident(job, plan)) return absl::OkStatus();

  ASSIGN_OR_RETURN(const GenerationId id, Admit(job, AlignUp(plan.layout.allocation_bytes,
                                                             device.allocation_granularity())));
  absl::StatusOr<std::unique_ptr<Allocation>> allocation =
      device.Allocate(plan.layout.allocation_bytes);
  absl::StatusOr<std::shared_ptr<const GenerationContent>> content =
      allocation.ok() ? Fill(job, device, stager, plan, id, **allocation) : allocation.status();
  if (!content.ok()) {
    if (allocation.ok()) allocation->reset();
    table_.Fail(id);
    table_.Freed(id);
    return content.status();
  }
  Publish(job, *content, *std::move(allocation));
  return absl::OkStatus();
}

void StageRunner::Publish(StageJob& job, const std::shared_ptr<const GenerationContent>& content,
                          std::unique_ptr<Allocation> allocation) {
  StageWishes met = {.pin = job.wishes().pin, .restage = true};
  std::vector<Doomed> doomed =
      table_.Publish(content->id, content, std::move(allocation), met.pin, clock_.Now());
  {
    absl::MutexLock lock(&listener_mu_);
    if (listener_) listener_(*content);
  }
  Event event = JobEvent(EventType::kStageDone, job);
  event.generation_id = content->id.value();
  event.bytes = content->allocated_bytes;
  event.detail = absl::StrCat("read_ms=", absl::ToInt64Milliseconds(content->report.read_time),
                              " engine=", content->report.engine);
  events_.Publish(std::move(event));
  StageRecord record = JobRecord(job, content->resident_time);
  record.generation = content->id;
  record.report = content->report;
  reports_.Add(std::move(record));
  while (!job.Finish(content, /*already_resident=*/false, met)) {
    // Somebody joined with a pin. FAILED_PRECONDITION means that the generation was evicted at
    // once, and then there is nothing to pin.
    met.pin = true;
    (void)table_.SetPinned(job.model(), job.device(), true);
  }
  if (met.pin) PublishPinned(job, *content);
  FreeDoomed(std::move(doomed), table_, events_);
}

absl::StatusOr<StageRunner::Plan> StageRunner::MakePlan(const StageJob& job,
                                                        const Device& device) const {
  const absl::Time start = clock_.Now();
  Plan plan;
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, catalog_.Find(job.model()));
  ASSIGN_OR_RETURN(plan.opened, catalog_.Open(checkpoint));
  const LayoutTarget target = device.info().kind == DeviceKind::kHost ? LayoutTarget::kHostMemory
                                                                      : LayoutTarget::kDeviceMemory;
  ASSIGN_OR_RETURN(plan.layout, PlanLayout(plan.opened.manifest, target));
  plan.identities = Identities(plan.opened);
  plan.made_time = clock_.Now();
  plan.plan_time = plan.made_time - start;
  return plan;
}

bool StageRunner::AnswerFromResident(StageJob& job, const Plan& plan) {
  std::shared_ptr<const GenerationContent> resident;
  StageWishes met;
  do {
    met = job.wishes();
    if (met.restage) return false;
    resident = table_.Use(job.model(), job.device(), plan.identities, met.pin, plan.made_time);
    if (resident == nullptr) return false;
  } while (!job.Finish(resident, /*already_resident=*/true, met));
  Event event = JobEvent(EventType::kStageDone, job);
  event.generation_id = resident->id.value();
  event.detail = "already resident";
  events_.Publish(std::move(event));
  if (met.pin) PublishPinned(job, *resident);
  return true;
}

void StageRunner::PublishPinned(const StageJob& job, const GenerationContent& content) {
  Event event = JobEvent(EventType::kPinned, job);
  event.generation_id = content.id.value();
  event.bytes = content.allocated_bytes;
  events_.Publish(std::move(event));
}

absl::StatusOr<GenerationId> StageRunner::Admit(const StageJob& job, uint64_t bytes) {
  while (true) {
    RETURN_IF_ERROR(CheckNotCancelled(job));
    ASSIGN_OR_RETURN(Admission admission, table_.Admit(job.model(), job.device(), bytes));
    if (admission.id.valid()) return admission.id;
    if (admission.victims.empty()) table_.AwaitFreed(admission, kFreedWait);
    FreeDoomed(std::move(admission.victims), table_, events_);
  }
}

absl::StatusOr<std::shared_ptr<const GenerationContent>> StageRunner::Fill(
    StageJob& job, Device& device, Stager& stager, Plan& plan, GenerationId id,
    Allocation& allocation) {
  const OpenedCheckpoint& opened = plan.opened;
  StageInput input;
  input.manifest = &opened.manifest;
  input.files = opened.files;
  input.layout = &plan.layout;
  input.device = &device;
  input.destination = &allocation;
  input.cancelled = &job.cancelled();
  input.bytes_per_second_max = job.bytes_per_second_max();
  input.on_progress = [&](uint64_t bytes_done) { job.SetBytesDone(bytes_done, clock_.Now()); };
  input.on_stuck = [&](const absl::Status& status) { Fail(job, status); };
  uint64_t total = 0;
  for (const ShardEntry& shard : opened.manifest.shards) total += shard.data_bytes;
  job.SetTotal(total);

  job.EnterPhase(StagePhase::kReading, clock_.Now());
  ASSIGN_OR_RETURN(StageOutcome outcome, stager.Run(input));
  const absl::Time verify_start = clock_.Now();
  job.EnterPhase(StagePhase::kPublishing, verify_start);
  RETURN_IF_ERROR(opened.CheckUnchanged());
  const absl::Time publish_start = clock_.Now();
  RETURN_IF_ERROR(allocation.Seal());
  RETURN_IF_ERROR(CheckNotCancelled(job));

  auto content = std::make_shared<GenerationContent>();
  content->id = id;
  content->model = job.model();
  content->root = opened.checkpoint.volume->root();
  content->revision = opened.checkpoint.revision;
  content->device = device.info();
  content->file_bytes = opened.checkpoint.file_bytes;
  content->allocated_bytes = allocation.bytes();
  content->tensor_bytes = opened.manifest.tensor_bytes();
  content->resident_time = clock_.Now();
  content->report = {.job = job.id(),
                     .engine = std::string(ReadEngineName(outcome.engine)),
                     .fallbacks = std::move(outcome.fallbacks),
                     .direct_bytes = outcome.direct_bytes,
                     .cached_bytes = outcome.cached_bytes,
                     .buffered_bytes = outcome.buffered_bytes,
                     .tensors_moved = outcome.tensors_moved,
                     .plan_time = plan.plan_time,
                     .read_time = outcome.read_time,
                     .copy_time = outcome.copy_time,
                     .verify_time = publish_start - verify_start,
                     .publish_time = content->resident_time - publish_start};
  content->manifest = std::move(plan.opened.manifest);
  content->layout = std::move(plan.layout);
  content->identities = std::move(plan.identities);
  return content;
}

}  // namespace weightd
