// What a stage is not begun for: reads that do not come back keep the memory of the stages before
// it.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/format_units.h"
#include "common/status_macros.h"
#include "daemon/residency/stage_run.h"

namespace weightd {
namespace {

// Stages of one file that were cancelled, and whose reads may come back.
constexpr size_t kSlowStagesOfFileMax = 2;
// Stages of one volume whose reads hang, each with what these write to.
constexpr size_t kHangingStagesOfVolumeMax = 4;

absl::Status TooManyHang(const StuckStage& stuck, size_t stages) {
  return ErrorWithReason(
      absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
      absl::StrCat(stages, " stages of this volume were given up whose reads have not come back, ",
                   stuck.file, " at ", stuck.offset, " among them for ",
                   absl::FormatDuration(absl::Trunc(stuck.age, absl::Seconds(1))),
                   ", and keep their memory: no more is begun before one does; look at the mount"));
}

}  // namespace

bool StageRun::IsOfTheseFiles(const StuckStage& stuck) const {
  const auto& files = plan_.identities;
  return std::find(files.begin(), files.end(), stuck.identity) != files.end();
}

// One more would have reads in flight in vain, in the place of those of other files.
absl::Status StageRun::AwaitSlowReads(Stager& stager) const {
  if (plan_.opened == nullptr) return absl::OkStatus();
  while (true) {
    const std::vector<StuckStage> all = stager.stuck();
    const auto slow = std::count_if(all.begin(), all.end(), [this](const StuckStage& stuck) {
      return !stuck.hangs && IsOfTheseFiles(stuck);
    });
    if (static_cast<size_t>(slow) < kSlowStagesOfFileMax) return absl::OkStatus();
    RETURN_IF_ERROR(CheckNotCancelled(job_));
    stager.Pause();
  }
}

absl::Status StageRun::CheckNotHanging(const Stager& stager) {
  if (plan_.opened == nullptr) return absl::OkStatus();
  size_t of_volume = 0;
  for (const StuckStage& stuck : stager.stuck()) {
    // One that was cancelled, and whose reads may only be slow, has nobody refused.
    if (!stuck.hangs) continue;
    const auto& files = plan_.identities;
    const bool is_of_volume = std::any_of(
        files.begin(), files.end(),
        [&stuck](const FileIdentity& file) { return file.device == stuck.identity.device; });
    volume_hangs_ = volume_hangs_ || is_of_volume;
    if (is_of_volume && ++of_volume >= kHangingStagesOfVolumeMax)
      return TooManyHang(stuck, of_volume);
    if (!IsOfTheseFiles(stuck)) continue;
    return ErrorWithReason(
        absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
        absl::StrCat("a read of ", stuck.file, " at ", stuck.offset, " has not come back for ",
                     absl::FormatDuration(absl::Trunc(stuck.age, absl::Seconds(1))),
                     ": it is not read again before that does; look at the mount"));
  }
  return absl::OkStatus();
}

// Others' models are evicted for no volume that gives nothing back.
absl::Status StageRun::CheckShareOfStuck() const {
  for (const DeviceUsage& usage : context_.table.Usage()) {
    if (usage.stuck_bytes == 0) continue;
    for (const Target& target : targets_) {
      if (target.device->info().id != usage.budget.device) continue;
      const uint64_t wanted = usage.stuck_bytes + layout_->allocation_bytes;
      if (wanted <= usage.budget.bytes / 2) continue;
      return ErrorWithReason(
          absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
          absl::StrCat("reads of this volume that do not come back keep memory, of ",
                       usage.budget.device, " ", FormatBytes(usage.stuck_bytes),
                       " in all: with this model they could have more than half of ",
                       FormatBytes(usage.budget.bytes), "; look at the mount"));
    }
  }
  return absl::OkStatus();
}

}  // namespace weightd
