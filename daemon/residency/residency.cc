#include "daemon/residency/residency.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/residency/stage_run.h"

namespace weightd {
namespace {

// Of each root's volume, of the resident copies, of what is not known, and of mounts below roots.
constexpr uint32_t kMoreLanes = 8;

JobQueueOptions WithLanes(JobQueueOptions options, const Catalog& catalog) {
  options.lanes_max = static_cast<uint32_t>(catalog.roots().size()) + kMoreLanes;
  return options;
}

// Volumes that hang keep the memory that their reads were to fill: no more of the host's than this.
constexpr uint64_t kInFlightShare = 2;

StagerOptions WithShare(StagerOptions stager, const TableOptions& table) {
  for (const DeviceBudget& budget : table.budgets) {
    if (budget.kind != DeviceKind::kHost) continue;
    stager.host_bytes_in_flight_max =
        std::min(stager.host_bytes_in_flight_max, budget.bytes / kInFlightShare);
  }
  return stager;
}

}  // namespace

absl::Status ResidencyOptions::Validate() const {
  RETURN_IF_ERROR(queue.Validate());
  RETURN_IF_ERROR(scrub.Validate());
  return stager.Validate();
}

absl::StatusOr<std::unique_ptr<Residency>> Residency::Create(
    const ResidencyOptions& options, const Catalog& catalog,
    std::vector<std::shared_ptr<Device>> devices, EventLog& events, const Clock& clock,
    Executor& executor) {
  RETURN_IF_ERROR(options.Validate());
  ASSIGN_OR_RETURN(std::shared_ptr<const KeySource> keys, KeySource::Create(options.keys));
  std::unique_ptr<Residency> residency(new Residency(options, std::move(keys), catalog,
                                                     std::move(devices), events, clock, executor));
  RETURN_IF_ERROR(residency->Start());
  return residency;
}

Residency::Residency(const ResidencyOptions& options, std::shared_ptr<const KeySource> keys,
                     const Catalog& catalog, std::vector<std::shared_ptr<Device>> devices,
                     EventLog& events, const Clock& clock, Executor& executor)
    : options_(options),
      keys_(std::move(keys)),
      devices_(std::move(devices)),
      clock_(clock),
      executor_(executor),
      events_(events),
      table_(options.table, executor),
      evictor_(table_, devices_, events, clock),
      reaper_(evictor_, executor),
      context_{
          .catalog = catalog,
          .table = table_,
          .evictor = evictor_,
          .devices = devices_,
          .events = events,
          .reports = reports_,
          .clock = clock,
          .keys = *keys_,
          .last_uses = options_.last_uses,
          .unhold = [this](CopyId id) { reaper_.FreeLater(table_.Unhold(id)); },
          .on_superseded = [this](const CopyInfo& old,
                                  GenerationId newer) { OnSuperseded(old, newer); },
          .move_to_lane = [this](const std::shared_ptr<StageJob>& job,
                                 const std::string& lane) { return runner_.MoveTo(job, lane); }},
      defaults_(options.defaults),
      runner_(WithLanes(options.queue, catalog), executor,
              [this](const std::shared_ptr<StageJob>& job) {
                return StageRun(context_, job).Run(*stager_);
              }),
      verifier_(
          table_, events, executor,
          [this](CopyId id) { reaper_.FreeLater(table_.UnholdBrief(id)); },
          [this](CopyId damaged) { OnDamaged(damaged); }) {
  table_.RestorePins(options.pins);
}

absl::Status Residency::Start() {
  std::vector<Device*> devices;
  for (const auto& device : devices_) devices.push_back(device.get());
  ASSIGN_OR_RETURN(stager_, Stager::Create(WithShare(options_.stager, options_.table),
                                           std::move(devices), executor_));
  evictor_.set_stager(stager_.get());
  scrubber_ = std::make_unique<Scrubber>(options_.scrub, table_, verifier_, executor_);
  RETURN_IF_ERROR(scrubber_->Start());
  RETURN_IF_ERROR(reaper_.Start());
  return runner_.Start(options_.queue.jobs_max);
}

Residency::~Residency() {
  scrubber_.reset();
  (void)runner_.Stop(absl::InfiniteFuture());
  reaper_.Stop();
  evictor_.Free(table_.EvictAll());
}

absl::StatusOr<Device*> Residency::FindDevice(const std::string& id) const {
  for (const auto& device : devices_) {
    if (device->info().id == id) return device.get();
  }
  const std::string known = absl::StrJoin(
      devices_, ", ", [](std::string* out, const auto& device) { *out += device->info().id; });
  return ErrorWithReason(absl::StatusCode::kNotFound, Reason::kDeviceNotFound,
                         id.empty() ? absl::StrCat("name a device: there are ", known)
                                    : absl::StrCat("no device ", id, "; there are ", known));
}

absl::StatusOr<std::vector<std::string>> Residency::DevicesFor(const StageRequest& request) const {
  if (request.devices.size() > kStageDevicesMax) {
    return ErrorWithReason(absl::StatusCode::kInvalidArgument, Reason::kInvalidRequest,
                           absl::StrCat("stage ", request.model, ": ", request.devices.size(),
                                        " devices, at most ", kStageDevicesMax));
  }
  std::vector<std::string> devices = request.devices;
  if (devices.empty()) devices.push_back(options_.default_device);
  std::vector<std::string> once;
  for (std::string& id : devices) {
    if (id.empty()) id = options_.default_device;
    RETURN_IF_ERROR(FindDevice(id).status());
    if (std::find(once.begin(), once.end(), id) == once.end()) once.push_back(id);
  }
  return once;
}

void Residency::set_stage_defaults(const StageDefaults& defaults) {
  absl::MutexLock lock(&mu_);
  defaults_ = defaults;
}

StageDefaults Residency::defaults() const {
  absl::MutexLock lock(&mu_);
  return defaults_;
}

std::string Residency::LaneOf(const StageTask& task) const {
  const bool may_be_copied = task.source != StageSource::kVolume || task.ref.generation.has_value();
  if (may_be_copied && !table_.DevicesOf(task.ref).empty()) return kMemoryLane;
  return weightd::LaneOf(context_.catalog.VolumesShown(task.ref.model));
}

absl::StatusOr<StageTicket> Residency::Stage(const StageRequest& request) {
  StageTask task;
  ASSIGN_OR_RETURN(task.ref, ParseModelRef(request.model));
  ASSIGN_OR_RETURN(task.devices, DevicesFor(request));
  task.source = request.source;
  task.lane = LaneOf(task);
  const StageDefaults defaults = this->defaults();
  task.host_copy = request.host_copy.value_or(defaults.host_copy);
  task.bytes_per_second_max = request.bytes_per_second_max > 0 ? request.bytes_per_second_max
                                                               : defaults.bytes_per_second_max;
  task.verify = request.verify.value_or(defaults.verify);
  task.require_digest = defaults.require_digest;
  DropCancelled();
  return runner_.Submit(std::move(task), {.detached = request.detached,
                                          .pin = request.pin,
                                          .restage = request.restage,
                                          .priority = request.priority,
                                          .uid = request.uid});
}

absl::StatusOr<StageTicket> Residency::StageForAttach(const std::string& model,
                                                      const std::string& device, bool wait,
                                                      uint32_t uid) {
  ASSIGN_OR_RETURN(const ModelRef ref, ParseModelRef(model));
  StageRequest request;
  request.model = model;
  request.devices = {device};
  request.source = wait ? StageSource::kAny : StageSource::kResident;
  request.priority = JobPriority::kClient;
  request.uid = uid;
  if (!wait && table_.DevicesOf(ref).empty()) {
    // The books say why: not there, or on its way out.
    ASSIGN_OR_RETURN(const HeldCopy held, table_.HoldAny(ref));
    reaper_.FreeLater(table_.Unhold(held.content->copy));
  }
  return Stage(request);
}

std::vector<std::shared_ptr<StageJob>> Residency::JobsFor(const std::string& model) const {
  return runner_.JobsFor(model, "");
}

void Residency::DropCancelled() {
  for (const auto& job : runner_.TakeCancelled()) StageRun::FailCancelled(context_, *job);
}

absl::StatusOr<Residency::Evicted> Residency::Evict(const std::string& model,
                                                    const std::string& device, bool force) {
  ASSIGN_OR_RETURN(const ModelRef ref, ParseModelRef(model));
  if (!device.empty()) RETURN_IF_ERROR(FindDevice(device).status());
  DropCancelled();
  // Whoever saw its job's end may evict at once.
  for (const std::shared_ptr<StageJob>& job : runner_.JobsLeftFor(ref.model, device)) {
    return ErrorWithReason(absl::StatusCode::kFailedPrecondition, Reason::kModelBusy,
                           absl::StrCat(model, " is being staged on ", job->devices_text(),
                                        ", job ", job->id().value()));
  }
  ASSIGN_OR_RETURN(EvictPlan plan, table_.Evict(ref, device, force));
  Evicted evicted;
  for (const Doomed& one : plan.doomed) evicted.bytes += one.info.allocated_bytes;
  evicted.copies = static_cast<uint32_t>(plan.doomed.size());
  evicted.demoted_bytes = evictor_.FreeAndTell(std::move(plan.doomed));
  evicted.revoking = std::move(plan.revoking);
  return evicted;
}

absl::StatusOr<std::vector<CopyInfo>> Residency::SetPinned(const std::string& model,
                                                           const std::string& device, bool pinned) {
  ASSIGN_OR_RETURN(const ModelRef ref, ParseModelRef(model));
  if (!device.empty()) RETURN_IF_ERROR(FindDevice(device).status());
  ASSIGN_OR_RETURN(std::vector<CopyInfo> changed, table_.SetPinned(ref, device, pinned));
  PublishPinEvents(changed, pinned);
  return changed;
}

void Residency::PublishPinEvents(const std::vector<CopyInfo>& copies, bool pinned) {
  for (const CopyInfo& info : copies) {
    const EventCopy copy = ToEventCopy(info);
    events_.Publish(pinned ? Event::Pinned(copy) : Event::Unpinned(copy));
  }
}

absl::StatusOr<HeldCopy> Residency::Acquire(const std::string& model, const std::string& device) {
  ASSIGN_OR_RETURN(const ModelRef ref, ParseModelRef(model));
  if (!device.empty()) RETURN_IF_ERROR(FindDevice(device).status());
  return table_.Acquire(ref, device.empty() ? options_.default_device : device, clock_.Now());
}

absl::StatusOr<HeldCopy> Residency::AcquireHeld(const CopyHold& hold) {
  return table_.AcquireHeld(hold.content().copy, clock_.Now());
}

void Residency::Release(CopyId id) { reaper_.FreeLater(table_.Release(id, clock_.Now())); }

void Residency::set_supersede_listener(SupersedeListener listener) {
  supersede_listener_.Set(
      listener == nullptr
          ? Listener<Superseded>::Call()
          : [listener = std::move(listener)](const Superseded& it) { listener(it.old, it.newer); });
}

void Residency::OnSuperseded(const CopyInfo& old, GenerationId newer) {
  supersede_listener_.Tell({.old = old.copy, .newer = newer});
}

void Residency::set_damage_listener(DamageListener listener) {
  damage_listener_.Set(std::move(listener));
}

void Residency::OnDamaged(CopyId damaged) { damage_listener_.Tell(damaged); }

absl::StatusOr<std::vector<VerifiedCopy>> Residency::Verify(const std::string& model,
                                                            const std::string& device,
                                                            const VerifyLimits& limits) {
  ASSIGN_OR_RETURN(const ModelRef ref, ParseModelRef(model));
  if (!device.empty()) RETURN_IF_ERROR(FindDevice(device).status());
  return verifier_.Verify(ref, device, limits);
}

LastUses Residency::last_uses() const {
  LastUses uses = options_.last_uses;
  for (const CopyInfo& info : table_.List()) {
    if (info.content == nullptr) continue;
    absl::Time& use = uses.try_emplace({info.model, info.device}, info.last_use).first->second;
    use = std::max(use, info.last_use);
  }
  return uses;
}

ReadPathInfo Residency::read_path() const {
  return {.engine = stager_->engine(),
          .fallbacks = stager_->fallbacks(),
          .block_bytes = options_.stager.block_bytes,
          .pool_bytes = stager_->pool_bytes(),
          .pool_pages = stager_->page_kind()};
}

std::vector<std::string> Residency::Shutdown(absl::Time deadline) {
  std::vector<std::string> hung = runner_.Stop(deadline);
  for (const StuckStage& stage : stager_ == nullptr ? std::vector<StuckStage>() : stuck()) {
    hung.push_back(absl::StrCat(stage.model, " of ", stage.root, ": ", stage.reads, " reads, of ",
                                stage.file, " at ", stage.offset, ", have not come back for ",
                                absl::FormatDuration(absl::Trunc(stage.age, absl::Seconds(1)))));
  }
  return hung;
}

}  // namespace weightd
