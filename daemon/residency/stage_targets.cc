// Where a stage's copies go, and the memory for them.

#include <algorithm>
#include <utility>

#include "common/align.h"
#include "common/status_macros.h"
#include "daemon/residency/stage_run.h"

namespace weightd {
namespace {

// Of 100 ms at most each (ResidencyTable::AwaitChange).
constexpr int kHoldWaitsMax = 20;

}  // namespace

Device* StageRun::HostDevice() const {
  for (const auto& device : context_.devices) {
    if (device->info().kind == DeviceKind::kHost) return device.get();
  }
  return nullptr;
}

absl::Status StageRun::ChooseTargets() {
  // What is there already stays, unless somebody wishes it read anew.
  if (!present_.empty() && plan_.opened != nullptr && !job_.RefuseRestage()) present_.clear();
  for (const auto& device : context_.devices) {
    const std::string& id = device->info().id;
    const auto& wanted = job_.task().devices;
    if (std::find(wanted.begin(), wanted.end(), id) == wanted.end()) continue;
    const bool is_present = std::any_of(present_.begin(), present_.end(), [&](const auto& hold) {
      return hold->content().device.id == id;
    });
    if (!is_present) targets_.push_back({.device = device.get()});
  }
  // Blocks go through the staging buffers of the first.
  std::stable_partition(targets_.begin(), targets_.end(), [](const Target& target) {
    return target.device->info().kind == DeviceKind::kCuda;
  });
  const bool any_gpu = targets_.front().device->info().kind == DeviceKind::kCuda;
  Device* host = HostDevice();
  const bool has_host =
      host == nullptr || targets_.back().device == host ||
      (plan_.source != nullptr && plan_.source->content().device.kind == DeviceKind::kHost);
  if (job_.task().host_copy && any_gpu && !has_host) {
    targets_.push_back({.device = host, .host_copy = true});
  }
  if (plan_.source != nullptr) {
    manifest_ = plan_.source->content().manifest;
    layout_ = plan_.source->content().layout;
    return absl::OkStatus();
  }
  const bool host_alone = targets_.size() == 1 && !any_gpu;
  ASSIGN_OR_RETURN(Layout layout,
                   PlanLayout(plan_.manifest(), host_alone ? LayoutTarget::kHostMemory
                                                           : LayoutTarget::kDeviceMemory));
  layout_ = std::make_shared<const Layout>(std::move(layout));
  RETURN_IF_ERROR(ChooseVerifyMode());
  // Before memory is taken: a key may be missing, and to derive one takes time.
  ASSIGN_OR_RETURN(keys_, context_.keys.KeysFor(plan_.manifest()));
  return absl::OkStatus();
}

absl::Status StageRun::Admit() {
  StageClaim claim;
  claim.model = job_.model();
  claim.revision = plan_.revision;
  claim.asked_revision = plan_.asked_revision;
  claim.job = job_.id();
  if (plan_.source != nullptr) claim.generation = plan_.source->content().id;
  for (const Target& target : targets_) {
    claim.places.push_back(
        {.device = target.device->info().id,
         .bytes = AlignUp(layout_->allocation_bytes, target.device->allocation_granularity()) +
                  BookedTableBytes(plan_.manifest(), *target.device),
         .host_copy = target.host_copy});
  }
  for (int waits = 0;; ++waits) {
    RETURN_IF_ERROR(CheckNotCancelled(job_));
    claim.waits_for_holds = waits < kHoldWaitsMax;
    ASSIGN_OR_RETURN(Admission admission, context_.table.Admit(claim));
    if (admission.admitted) {
      generation_ = admission.generation;
      for (size_t i = 0; i < targets_.size(); ++i) targets_[i].copy = admission.copies[i];
      if (!targets_.back().copy.valid()) {
        targets_.pop_back();
        report_.fallbacks.push_back("no host copy: it does not fit into the host tier");
      }
      return absl::OkStatus();
    }
    if (admission.victims.empty()) context_.table.AwaitChange(admission);
    context_.evictor.Free(std::move(admission.victims));
  }
}

absl::Status StageRun::Allocate() {
  for (Target& target : targets_) {
    ASSIGN_OR_RETURN(target.allocation, target.device->Allocate(layout_->allocation_bytes));
  }
  return absl::OkStatus();
}

}  // namespace weightd
