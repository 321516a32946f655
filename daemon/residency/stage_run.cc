#include "daemon/residency/stage_run.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/catalog/read_digests.h"
#include "daemon/catalog/read_file_sums.h"

namespace weightd {
namespace {

EventJob ToEventJob(const StageJob& job) {
  return {.model = job.model(), .device = job.devices_text(), .job = job.id()};
}

absl::Status AnnotateStuck(const absl::Status& status) {
  absl::Status annotated(
      status.code(),
      absl::StrCat(status.message(),
                   "; what they may write to stays booked until the reads come back"));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    annotated.SetPayload(url, payload);
  });
  return annotated;
}

StageRecord JobRecord(const StageJob& job, absl::Time end_time) {
  StageRecord record;
  record.model = job.model();
  record.devices = job.task().devices;
  record.end_time = end_time;
  record.report.job = job.id();
  return record;
}

}  // namespace

// In the order in which it must not go: the books come last.
struct StageRun::Kept {
  ~Kept() {
    allocations.clear();
    files.clear();
    if (table == nullptr) return;
    for (const CopyId copy : copies) table->Freed(copy);
  }

  std::shared_ptr<StageJob> job;
  std::vector<std::shared_ptr<File>> files;
  std::vector<std::shared_ptr<Allocation>> allocations;
  // Of an abandoned stage: where `copies` are booked until this ends.
  ResidencyTable* table = nullptr;
  std::vector<CopyId> copies;
};

absl::Status CheckNotCancelled(const StageJob& job) {
  if (!job.cancelled().load()) return absl::OkStatus();
  return ErrorWithReason(absl::StatusCode::kCancelled, Reason::kCancelled,
                         "cancelled: nobody waits for it any more, or the daemon drains");
}

StageRun::StageRun(const StageContext& context, std::shared_ptr<StageJob> job)
    : context_(context), shared_job_(std::move(job)), job_(*shared_job_) {
  report_.job = job_.id();
}

RunEnd StageRun::Run(Stager& stager) {
  const absl::StatusOr<RunEnd> end = Stage(stager);
  plan_ = StagePlan();
  present_.clear();
  if (!end.ok()) Fail(context_, job_, end.status());
  if (!end.ok() || *end == RunEnd::kEnded) return RunEnd::kEnded;
  job_.EnterQueueAgain();
  return RunEnd::kWaits;
}

void StageRun::Fail(const StageContext& context, StageJob& job, const absl::Status& status) {
  const absl::Status annotated = Annotate(status, absl::StrCat("stage ", job.model()));
  const bool refused = GetReason(annotated) == Reason::kBudgetExceeded;
  context.events.Publish(refused ? Event::StageRefused(ToEventJob(job), annotated)
                                 : Event::StageFailed(ToEventJob(job), annotated));
  StageRecord record = JobRecord(job, context.clock.Now());
  record.status = annotated;
  context.reports.Add(std::move(record));
  job.Fail(annotated);
}

void StageRun::FailCancelled(const StageContext& context, StageJob& job) {
  Fail(context, job, CheckNotCancelled(job));
}

bool StageRun::IsInItsLane() {
  if (plan_.opened == nullptr || !context_.move_to_lane) return true;
  const std::string lane = LaneOf(plan_.opened->checkpoint.volumes);
  return lane == job_.lane() || context_.move_to_lane(shared_job_, lane);
}

absl::StatusOr<RunEnd> StageRun::Stage(Stager& stager) {
  RETURN_IF_ERROR(CheckNotCancelled(job_));
  job_.EnterPhase(StagePhase::kPlanning, context_.clock.Now());
  if (!job_.was_planned()) context_.events.Publish(Event::StageStarted(ToEventJob(job_)));
  ASSIGN_OR_RETURN(plan_, MakeStagePlan(context_, job_));
  if (AnswerFromResident()) return RunEnd::kEnded;
  if (!IsInItsLane()) return RunEnd::kWaits;
  RETURN_IF_ERROR(AwaitSlowReads(stager));
  RETURN_IF_ERROR(CheckNotHanging(stager));
  RETURN_IF_ERROR(ChooseTargets());
  if (volume_hangs_) RETURN_IF_ERROR(CheckShareOfStuck());
  RETURN_IF_ERROR(Admit());
  absl::Status filled = Allocate();
  if (filled.ok()) filled = Fill(stager);
  if (filled.ok()) filled = Seal(stager);
  if (filled.ok()) filled = CheckNotCancelled(job_);
  if (!filled.ok()) {
    Abandon();
    return filled;
  }
  Publish();
  return RunEnd::kEnded;
}

void StageRun::TakePresent(const StageWishes& wishes) {
  std::vector<std::shared_ptr<const CopyHold>> present;
  for (const std::string& device : job_.task().devices) {
    UseResult used = context_.table.Use({.model = job_.model(),
                                         .asked_revision = plan_.asked_revision,
                                         .device = device,
                                         .identities = plan_.identities,
                                         .pin = wishes.pin,
                                         .current = plan_.current},
                                        plan_.made_time);
    if (used.content == nullptr) continue;
    Settle(std::move(used.published));
    present.push_back(std::make_shared<CopyHold>(
        HeldCopy{.content = used.content, .allocation = nullptr}, context_.unhold));
  }
  present_ = std::move(present);
}

bool StageRun::AnswerFromResident() {
  StageWishes met;
  do {
    met = job_.wishes();
    if (met.restage && plan_.opened != nullptr) return false;
    TakePresent(met);
    if (present_.size() < job_.task().devices.size()) return false;
    met.restage = job_.wishes().restage;
  } while (!job_.Finish(AllHolds(), /*already_resident=*/true, met));
  StageRecord record = JobRecord(job_, context_.clock.Now());
  record.already_resident = true;
  context_.reports.Tell(record);
  PublishDone(/*already_resident=*/true);
  if (met.pin) PublishPinned();
  return true;
}

// What the configuration wants is looked at, also where the request would not.
absl::Status StageRun::ChooseVerifyMode() {
  verify_ = job_.task().verify;
  if (verify_ == VerifyMode::kFull) {
    ASSIGN_OR_RETURN(file_sums_, ReadFileSums(*plan_.opened));
  }
  if (!job_.task().require_digest) return absl::OkStatus();
  if (plan_.opened->digests == nullptr) {
    return ErrorWithReason(
        absl::StatusCode::kFailedPrecondition, Reason::kDigestMissing,
        absl::StrCat("no digest manifest at ", DigestsPathOf(plan_.opened->checkpoint),
                     ", and staging.require_digest is set; `weightctl digest` writes one"));
  }
  verify_ = std::max(verify_, VerifyMode::kFast);
  return absl::OkStatus();
}

void StageRun::Abandon() {
  for (size_t i = 0; i < targets_.size(); ++i) {
    Target& target = targets_[i];
    context_.table.Fail(target.copy, /*stuck=*/abandoned_);
    if (!abandoned_) {
      target.allocation.reset();
      context_.table.Freed(target.copy);
      continue;
    }
    if (kept_parts_[i].has_value()) {
      const uint64_t left = target.allocation->GiveBackAllBut(*kept_parts_[i]);
      const uint64_t table = keeps_plan_ ? BookedTableBytes(plan_.manifest(), *target.device) : 0;
      context_.table.SetLeftBytes(target.copy, left + table);
    }
    target.allocation.reset();
    kept_->table = &context_.table;
    kept_->copies.push_back(target.copy);
  }
  kept_.reset();
}

std::vector<StageTarget> StageRun::StageTargets() const {
  std::vector<StageTarget> targets;
  for (const Target& target : targets_) {
    targets.push_back({.device = target.device, .destination = target.allocation.get()});
  }
  return targets;
}

absl::Status StageRun::Fill(Stager& stager) {
  job_.EnterPhase(StagePhase::kReading, context_.clock.Now());
  report_.plan_time = plan_.plan_time;
  return plan_.source != nullptr ? CopyResident(stager) : ReadFiles(stager);
}

absl::Status StageRun::CopyResident(Stager& stager) {
  const CopyContent& from = plan_.source->content();
  CopyInput input;
  input.from = &plan_.source->allocation();
  for (const auto& device : context_.devices) {
    if (device->info().id == from.device.id) input.from_device = device.get();
  }
  input.targets = StageTargets();
  input.bytes = layout_->allocation_bytes;
  input.cancelled = &job_.cancelled();
  input.on_progress = [this](uint64_t bytes) { job_.SetBytesDone(bytes, context_.clock.Now()); };
  job_.SetTotal(input.bytes);
  ASSIGN_OR_RETURN(const CopyOutcome outcome, stager.Copy(input));
  report_.source = from.device.id;
  report_.copied_bytes = outcome.bytes;
  report_.copy_time = outcome.copy_time;
  job_.EnterPhase(StagePhase::kPublishing, context_.clock.Now());
  return absl::OkStatus();
}

absl::Status StageRun::ReadFiles(Stager& stager) {
  kept_ = std::make_shared<Kept>();
  kept_->job = shared_job_;
  kept_->files = plan_.opened->files;
  StageInput input;
  input.model = job_.model();
  input.root = plan_.opened->checkpoint.volume->root();
  input.keep = kept_;
  input.keep_plan = std::make_shared<
      const std::pair<std::shared_ptr<const OpenedCheckpoint>, std::shared_ptr<const Layout>>>(
      plan_.opened, layout_);
  input.on_abandoned = [this](const auto& kept, bool keeps_plan) {
    kept_parts_ = kept;
    keeps_plan_ = keeps_plan;
  };
  input.manifest = &plan_.opened->manifest;
  input.files = kept_->files;
  input.layout = layout_.get();
  input.targets = StageTargets();
  input.cancelled = &job_.cancelled();
  input.bytes_per_second_max = job_.task().bytes_per_second_max;
  input.digest.mode = verify_;
  input.digest.keys = std::move(keys_);
  input.digest.file_sums = std::move(file_sums_);
  for (const Target& target : targets_) kept_->allocations.push_back(target.allocation);
  // The run may be over before the last of it.
  input.on_progress = [job = shared_job_, &clock = context_.clock](uint64_t bytes) {
    job->SetBytesDone(bytes, clock.Now());
  };
  uint64_t total = 0;
  for (const ShardEntry& shard : plan_.opened->manifest.shards) total += shard.data_bytes;
  for (const ZeroRange& zeros : layout_->zeros) total += zeros.bytes;
  job_.SetTotal(total);
  absl::StatusOr<StageOutcome> ran = stager.Run(input, &abandoned_);
  if (abandoned_) return AnnotateStuck(ran.status());
  input.keep.reset();
  kept_.reset();
  RETURN_IF_ERROR(ran.status());
  StageOutcome outcome = *std::move(ran);
  const absl::Time verify_start = context_.clock.Now();
  job_.EnterPhase(StagePhase::kPublishing, verify_start);
  RETURN_IF_ERROR(plan_.opened->CheckUnchanged());
  report_.verify_time = context_.clock.Now() - verify_start;
  report_.source = std::string(kVolumeSource);
  const std::vector<std::string>& passed_over = plan_.opened->checkpoint.fallbacks;
  report_.fallbacks.insert(report_.fallbacks.end(), passed_over.begin(), passed_over.end());
  report_.engine = std::string(ReadEngineName(outcome.engine));
  for (const std::string& text : outcome.fallbacks) report_.fallbacks.push_back(text);
  report_.direct_bytes = outcome.direct_bytes;
  report_.cached_bytes = outcome.cached_bytes;
  report_.buffered_bytes = outcome.buffered_bytes;
  report_.read_retries = outcome.read_retries;
  report_.tensors_moved = outcome.tensors_moved;
  report_.verify = verify_;
  report_.hashes_checked = outcome.digest.hashes_checked;
  report_.files_checked = outcome.digest.files_checked;
  if (!outcome.digest.digests.empty()) {
    if (plan_.opened->digests != nullptr) {
      RETURN_IF_ERROR(
          CheckDigests(*plan_.opened->digests, plan_.opened->manifest, outcome.digest.digests));
      report_.digest_manifest = plan_.opened->digests->path;
    }
    digests_ = std::make_shared<const TensorDigests>(std::move(outcome.digest.digests));
  }
  report_.read_time = outcome.read_time;
  report_.copy_time = outcome.copy_time;
  return absl::OkStatus();
}

absl::Status StageRun::Seal(Stager& stager) {
  const absl::Time start = context_.clock.Now();
  for (Target& target : targets_) {
    RETURN_IF_ERROR(target.allocation->Seal());
    if (const absl::Status pinned = stager.Pin(*target.device, target.allocation); !pinned.ok()) {
      report_.fallbacks.push_back(std::string(pinned.message()));
    }
  }
  report_.publish_time = context_.clock.Now() - start;
  return absl::OkStatus();
}

}  // namespace weightd
