#include "daemon/service/proto_convert.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "common/errors.h"

namespace weightd {
namespace {

v1::ResidencyState StateToProto(ResidencyState state) {
  switch (state) {
    case ResidencyState::kStaging:
      return v1::STAGING;
    case ResidencyState::kResident:
      return v1::RESIDENT;
    case ResidencyState::kRevoking:
      return v1::REVOKING;
    case ResidencyState::kDemoting:
      return v1::DEMOTING;
    case ResidencyState::kEvicting:
    case ResidencyState::kGone:
      return v1::EVICTING;
    case ResidencyState::kFailed:
      return v1::FAILED;
  }
  return v1::RESIDENCY_STATE_UNSPECIFIED;
}

v1::StagePhase PhaseToProto(StagePhase phase) {
  switch (phase) {
    case StagePhase::kQueued:
      return v1::QUEUED;
    case StagePhase::kPlanning:
      return v1::PLANNING;
    case StagePhase::kReading:
      return v1::READING;
    case StagePhase::kPublishing:
      return v1::PUBLISHING;
    case StagePhase::kDone:
      return v1::STAGED;
    case StagePhase::kFailed:
      return v1::STAGE_PHASE_UNSPECIFIED;  // travels as the call's status
  }
  return v1::STAGE_PHASE_UNSPECIFIED;
}

v1::EventType EventTypeToProto(EventType type) {
  switch (type) {
    case EventType::kStageStarted:
      return v1::STAGE_STARTED;
    case EventType::kStageDone:
      return v1::STAGE_DONE;
    case EventType::kStageFailed:
      return v1::STAGE_FAILED;
    case EventType::kEvicted:
      return v1::EVICTED;
    case EventType::kPinned:
      return v1::PINNED;
    case EventType::kUnpinned:
      return v1::UNPINNED;
    case EventType::kLeaseGranted:
      return v1::LEASE_GRANTED;
    case EventType::kLeaseEnded:
      return v1::LEASE_ENDED;
    case EventType::kAttachRefused:
      return v1::ATTACH_REFUSED;
    case EventType::kDrainStarted:
      return v1::DRAIN_STARTED;
    case EventType::kStageRefused:
      return v1::STAGE_REFUSED;
    case EventType::kDemoted:
      return v1::DEMOTED;
    case EventType::kLeaseRevoked:
      return v1::LEASE_REVOKED;
    case EventType::kSuperseded:
      return v1::SUPERSEDED;
    case EventType::kModelAdded:
      return v1::MODEL_ADDED;
    case EventType::kModelChanged:
      return v1::MODEL_CHANGED;
    case EventType::kModelRemoved:
      return v1::MODEL_REMOVED;
    case EventType::kVerified:
      return v1::VERIFIED;
    case EventType::kDamaged:
      return v1::DAMAGED;
    case EventType::kDemotionFailed:
      return v1::DEMOTION_FAILED;
  }
  return v1::EVENT_TYPE_UNSPECIFIED;
}

v1::Tier TierOf(DeviceKind kind) { return kind == DeviceKind::kHost ? v1::HOST : v1::DEVICE; }

}  // namespace

void ToProto(absl::Time time, google::protobuf::Timestamp& to) {
  const timespec parts = absl::ToTimespec(time);
  to.set_seconds(parts.tv_sec);
  to.set_nanos(static_cast<int32_t>(parts.tv_nsec));
}

void ToProto(absl::Duration duration, google::protobuf::Duration& to) {
  const timespec parts = absl::ToTimespec(duration);
  to.set_seconds(parts.tv_sec);
  to.set_nanos(static_cast<int32_t>(parts.tv_nsec));
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

v1::VerifyMode ToProto(VerifyMode mode) {
  switch (mode) {
    case VerifyMode::kNone:
      return v1::NONE;
    case VerifyMode::kFast:
      return v1::FAST;
    case VerifyMode::kFull:
      return v1::FULL;
  }
  return v1::VERIFY_MODE_UNSPECIFIED;
}

absl::StatusOr<std::optional<VerifyMode>> FromProto(v1::VerifyMode mode) {
  switch (mode) {
    case v1::VERIFY_MODE_UNSPECIFIED:
      return std::nullopt;
    case v1::NONE:
      return VerifyMode::kNone;
    case v1::FAST:
      return VerifyMode::kFast;
    case v1::FULL:
      return VerifyMode::kFull;
    default:
      return ErrorWithReason(
          absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
          absl::StrCat("verify is ", static_cast<int>(mode), ", wanted NONE, FAST or FULL"));
  }
}

void ToProto(const StageReport& report, v1::StageReport& to) {
  to.set_job_id(report.job.value());
  to.set_source(report.source);
  to.set_engine(report.engine);
  for (const std::string& fallback : report.fallbacks) to.add_fallbacks(fallback);
  to.set_bytes_read(report.bytes_read());
  to.set_copied_bytes(report.copied_bytes);
  to.set_direct_bytes(report.direct_bytes);
  to.set_cached_bytes(report.cached_bytes);
  to.set_buffered_bytes(report.buffered_bytes);
  to.set_tensors_moved(report.tensors_moved);
  if (report.verify.has_value()) to.set_verify(ToProto(*report.verify));
  to.set_hashes_checked(report.hashes_checked);
  to.set_files_checked(report.files_checked);
  to.set_digest_manifest(report.digest_manifest);
  to.set_bytes_per_second(report.bytes_per_second());
  ToProto(report.plan_time, *to.mutable_plan_time());
  ToProto(report.read_time, *to.mutable_read_time());
  ToProto(report.copy_time, *to.mutable_copy_time());
  ToProto(report.verify_time, *to.mutable_verify_time());
  ToProto(report.publish_time, *to.mutable_publish_time());
}

void ToProto(const StageRecord& record, v1::StageReport& to) {
  if (record.status.ok()) {
    ToProto(record.report, to);
    to.set_generation_id(record.generation.value());
  } else {
    to.set_job_id(record.report.job.value());
    to.set_error(std::string(record.status.message()));
    if (const auto reason = GetReason(record.status))
      to.set_reason(std::string(ReasonName(*reason)));
  }
  to.set_model(record.model);
  for (const std::string& device : record.devices) to.add_devices(device);
  ToProto(record.end_time, *to.mutable_end_time());
}

void ToProto(const CopyInfo& info, v1::Generation& to) {
  if (info.content != nullptr) to = ResidentToProto(*info.content);
  to.set_id(info.id.value());
  to.set_device(info.device);
  to.set_tier(TierOf(info.device_kind));
  to.set_state(StateToProto(info.state));
  to.set_allocated_bytes(info.allocated_bytes);
  to.set_pinned(info.pinned);
  to.set_lease_count(info.lease_count);
  to.set_host_copy(info.host_copy);
  to.set_superseded(info.superseded);
  to.set_damaged(info.damaged);
  to.set_stuck(info.stuck);
  to.set_by_revision(!info.asked_revision.empty());
  to.set_revision(info.revision);
  if (info.content != nullptr) ToProto(info.last_use, *to.mutable_last_use_time());
}

v1::Generation ResidentToProto(const CopyContent& content) {
  v1::Generation to;
  to.set_id(content.id.value());
  to.set_device(content.device.id);
  to.set_tier(TierOf(content.device.kind));
  to.set_state(v1::RESIDENT);
  to.set_allocated_bytes(content.allocated_bytes);
  to.set_tensor_bytes(content.tensor_bytes);
  to.set_revision(content.revision);
  to.set_tensor_count(content.manifest->tensors.size());
  ToProto(content.resident_time, *to.mutable_resident_time());
  ToProto(content.report, *to.mutable_report());
  return to;
}

void ToProto(const Manifest& manifest, size_t index, v1::Tensor& to) {
  const TensorEntry& tensor = manifest.tensors[index];
  to.set_name(tensor.name);
  to.set_dtype(static_cast<v1::DType>(tensor.dtype));
  for (const uint64_t dimension : tensor.shape) to.add_shape(dimension);
  to.set_bytes(tensor.bytes);
  if (manifest.stored.empty()) return;
  const StoredTensor& stored = manifest.stored[index];
  to.set_kind(static_cast<v1::TensorKind>(stored.kind));
  to.set_torch_dtype(stored.torch_dtype);
}

const char* FileSystemKindName(FileSystemKind kind) {
  switch (kind) {
    case FileSystemKind::kLocal:
      return "local";
    case FileSystemKind::kNetwork:
      return "network";
    case FileSystemKind::kFuse:
      return "fuse";
    case FileSystemKind::kStacked:
      return "stacked";
  }
  return "local";
}

std::string AbsolutePath(const std::string& path) {
  const bool is_plain = absl::StartsWith(path, "/") && !absl::StrContains(path, "/./");
  if (path.empty() || is_plain) return path;
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return path;
  // What ".." means depends on links; "." means nothing.
  std::filesystem::path plain;
  for (const std::filesystem::path& part : absolute) {
    if (part != ".") plain /= part;
  }
  return plain.string();
}

void ToProto(const RootLook& look, v1::VolumeStatus& to) {
  to.set_root(AbsolutePath(look.root));
  if (look.kind.has_value()) to.set_kind(FileSystemKindName(*look.kind));
  if (!look.problem.ok()) {
    to.set_problem(std::string(look.problem.message()));
    to.set_reason(std::string(ReasonWord(look.problem)));
  }
  if (look.scan != nullptr) ToProto(look.scan->time, *to.mutable_scan_time());
  to.set_threads_stuck(look.threads.stuck);
  if (look.threads.stuck > 0) {
    ToProto(absl::Now() - look.threads.stuck_for, *to.mutable_stuck_since());
    to.set_stuck_what(look.threads.stuck_what);
  }
  to.set_queued(look.threads.queued);
}

void ToProto(const Checkpoint& checkpoint, v1::Model& to) {
  to.set_name(checkpoint.model);
  to.set_root(AbsolutePath(checkpoint.volume->root()));
  to.set_revision(checkpoint.revision);
  to.set_shard_count(static_cast<uint32_t>(checkpoint.shard_paths.size()));
  to.set_file_bytes(checkpoint.file_bytes);
  to.set_problem(checkpoint.problem);
}

void ToProto(const LeaseInfo& lease, v1::Lease& to) {
  to.set_id(lease.id.value());
  to.set_model(lease.content->model);
  to.set_generation_id(lease.content->id.value());
  to.set_device(lease.content->device.id);
  to.set_pid(lease.peer.pid);
  to.set_uid(lease.peer.uid);
  to.set_bytes(lease.content->allocated_bytes);
  to.set_client_name(lease.client_name);
  ToProto(lease.since, *to.mutable_since());
}

void ToProto(const DeviceUsage& usage, const DeviceInfo& info, v1::Device& to) {
  to.set_id(info.id);
  to.set_tier(TierOf(info.kind));
  to.set_name(info.name);
  to.set_share(info.kind == DeviceKind::kHost ? "FD" : "CUDA_IPC");
  to.set_budget_bytes(usage.budget.bytes);
  to.set_used_bytes(usage.used_bytes);
  to.set_leased_bytes(usage.leased_bytes);
  to.set_pinned_bytes(usage.pinned_bytes);
  to.set_total_bytes(info.total_bytes);
  to.set_reserve_bytes(usage.budget.reserve_bytes);
  to.set_staging_bytes(usage.staging_bytes);
  to.set_stuck_bytes(usage.stuck_bytes);
}

void ToProto(const Warning& warning, v1::Warning& to) {
  to.set_reason(std::string(WarningWord(warning.reason)));
  to.set_text(warning.text);
}

void ToProto(const Event& event, v1::Event& to) {
  to.set_sequence(event.sequence);
  ToProto(event.time, *to.mutable_time());
  to.set_type(EventTypeToProto(event.type));
  to.set_model(event.model);
  to.set_device(event.device);
  to.set_generation_id(event.generation_id);
  to.set_job_id(event.job_id);
  to.set_lease_id(event.lease_id);
  to.set_bytes(event.bytes);
  to.set_pid(event.pid);
  to.set_uid(event.uid);
  to.set_reason(event.reason);
  to.set_detail(event.detail);
}

void ToProto(const StageSnapshot& snapshot, v1::StageModelResponse& to) {
  to.set_job_id(snapshot.job.value());
  to.set_phase(PhaseToProto(snapshot.phase));
  to.set_bytes_done(snapshot.bytes_done);
  to.set_bytes_total(snapshot.bytes_total);
  to.set_bytes_per_second(snapshot.bytes_per_second);
  to.set_already_resident(snapshot.already_resident);
  to.set_jobs_ahead(snapshot.jobs_ahead);
  for (const auto& content : snapshot.contents) *to.add_generations() = ResidentToProto(*content);
}

}  // namespace weightd
