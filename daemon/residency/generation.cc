#include "daemon/residency/generation.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "common/align.h"

namespace weightd {
namespace {

// A commit is named by this much of it, or more.
constexpr size_t kShortRevision = 7;

}  // namespace

bool CanMove(ResidencyState from, ResidencyState to) {
  switch (from) {
    case ResidencyState::kStaging:
      return to == ResidencyState::kResident || to == ResidencyState::kFailed;
    case ResidencyState::kResident:
      return to == ResidencyState::kRevoking || to == ResidencyState::kDemoting ||
             to == ResidencyState::kEvicting;
    case ResidencyState::kRevoking:
    case ResidencyState::kDemoting:
      return to == ResidencyState::kEvicting;
    case ResidencyState::kEvicting:
    case ResidencyState::kFailed:
      return to == ResidencyState::kGone;
    case ResidencyState::kGone:
      return false;
  }
  return false;
}

absl::string_view ResidencyStateName(ResidencyState state) {
  switch (state) {
    case ResidencyState::kStaging:
      return "STAGING";
    case ResidencyState::kResident:
      return "RESIDENT";
    case ResidencyState::kRevoking:
      return "REVOKING";
    case ResidencyState::kDemoting:
      return "DEMOTING";
    case ResidencyState::kEvicting:
      return "EVICTING";
    case ResidencyState::kFailed:
      return "FAILED";
    case ResidencyState::kGone:
      return "GONE";
  }
  return "UNKNOWN";
}

absl::string_view EvictReasonName(EvictReason reason) {
  switch (reason) {
    case EvictReason::kRoom:
      return "ROOM";
    case EvictReason::kOperator:
      return "OPERATOR";
    case EvictReason::kForce:
      return "FORCE";
    case EvictReason::kSuperseded:
      return "SUPERSEDED";
    case EvictReason::kShutdown:
      return "SHUTDOWN";
  }
  return "UNKNOWN";
}

bool NamesRevision(const std::string& asked, const CopyInfo& info) {
  if (info.asked_as.contains(asked)) return true;
  return asked.size() >= kShortRevision && absl::StartsWith(info.revision, asked);
}

absl::Duration StageReport::total_time() const {
  return plan_time + read_time + copy_time + verify_time + publish_time;
}

uint64_t StageReport::bytes_per_second() const {
  const double seconds = absl::ToDoubleSeconds(read_time + copy_time);
  if (seconds <= 0) return 0;
  return static_cast<uint64_t>(static_cast<double>(bytes_read() + copied_bytes) / seconds);
}

uint64_t BookedTableBytes(const Manifest& manifest) {
  uint64_t bytes = manifest.stored.size() * sizeof(StoredTensor);
  // With its place in the layout.
  for (const TensorEntry& tensor : manifest.tensors) {
    bytes += sizeof(TensorEntry) + tensor.name.size() + sizeof(uint64_t);
  }
  for (const auto& [key, value] : manifest.metadata) bytes += key.size() + value.size();
  return std::max(bytes, kFreeTableBytes) - kFreeTableBytes;
}

uint64_t BookedTableBytes(const Manifest& manifest, const Device& device) {
  if (device.info().kind != DeviceKind::kHost) return 0;
  return AlignUp(BookedTableBytes(manifest), device.allocation_granularity());
}

}  // namespace weightd
