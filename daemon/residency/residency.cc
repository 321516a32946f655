#include "daemon/residency/residency.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"
#include "common/status_macros.h"

namespace weightd {
namespace {

absl::Status DrainingError() {
  return ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kDraining,
                         "the daemon is shutting down");
}

}  // namespace

absl::Status ResidencyOptions::Validate() const {
  if (jobs_max < 1 || jobs_max > 16) {
    return absl::InvalidArgumentError(absl::StrCat("jobs_max is ", jobs_max, ", wanted 1 to 16"));
  }
  if (queue_max < 1 || queue_max > 4096) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue_max is ", queue_max, ", wanted 1 to 4096"));
  }
  return stager.Validate();
}

absl::StatusOr<std::unique_ptr<Residency>> Residency::Create(
    const ResidencyOptions& options, const Catalog& catalog,
    std::vector<std::shared_ptr<Device>> devices, EventLog& events, const Clock& clock) {
  RETURN_IF_ERROR(options.Validate());
  std::unique_ptr<Residency> residency(
      new Residency(options, catalog, std::move(devices), events, clock));
  RETURN_IF_ERROR(residency->Start());
  return residency;
}

Residency::Residency(const ResidencyOptions& options, const Catalog& catalog,
                     std::vector<std::shared_ptr<Device>> devices, EventLog& events,
                     const Clock& clock)
    : options_(options),
      devices_(std::move(devices)),
      clock_(clock),
      events_(events),
      table_(options.budgets),
      runner_(catalog, table_, events, reports_, clock) {}

absl::Status Residency::Start() {
  std::vector<Device*> devices;
  for (const auto& device : devices_) devices.push_back(device.get());
  ASSIGN_OR_RETURN(stager_, Stager::Create(options_.stager, std::move(devices)));
  reaper_ = std::thread([this] { Reap(); });
  for (uint32_t i = 0; i < options_.jobs_max; ++i) {
    workers_.emplace_back([this] { Work(); });
  }
  return absl::OkStatus();
}

Residency::~Residency() {
  Shutdown();
  {
    absl::MutexLock lock(&mu_);
    reaper_stops_ = true;
  }
  if (reaper_.joinable()) reaper_.join();
  FreeDoomed(table_.EvictAll(), table_, events_);
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

absl::StatusOr<StageTicket> Residency::Stage(const StageRequest& request) {
  RETURN_IF_ERROR(ValidateModelName(request.model));
  ASSIGN_OR_RETURN(Device * device,
                   FindDevice(request.device.empty() ? options_.default_device : request.device));
  DropCancelled();
  const StageCaller caller = {
      .detached = request.detached, .pin = request.pin, .restage = request.restage};
  absl::MutexLock lock(&mu_);
  if (shutdown_) return DrainingError();
  for (const std::shared_ptr<StageJob>& job : JobsFor(request.model, device->info().id)) {
    if (job->Join(caller)) return StageTicket{.job = job, .joined = true};
  }
  if (queue_.size() >= options_.queue_max) {
    return ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
                           absl::StrCat("stage ", request.model, ": ", queue_.size(),
                                        " jobs wait already, queue_max"));
  }
  const uint64_t rate = request.bytes_per_second_max > 0 ? request.bytes_per_second_max
                                                         : options_.bytes_per_second_max;
  auto job = std::make_shared<StageJob>(JobId(next_job_++), request.model, device->info().id, rate);
  job->Join(caller);
  queue_.push_back({.job = job, .device = device});
  return StageTicket{.job = std::move(job), .joined = false};
}

std::vector<std::shared_ptr<StageJob>> Residency::JobsFor(const std::string& model,
                                                          const std::string& device) const {
  std::vector<std::shared_ptr<StageJob>> jobs;
  const auto add = [&](const std::shared_ptr<StageJob>& job) {
    if (job->model() == model && (device.empty() || job->device() == device)) jobs.push_back(job);
  };
  for (const std::shared_ptr<StageJob>& job : running_) add(job);
  for (const QueuedJob& queued : queue_) add(queued.job);
  return jobs;
}

void Residency::DropCancelled() {
  std::vector<std::shared_ptr<StageJob>> cancelled;
  {
    absl::MutexLock lock(&mu_);
    std::erase_if(queue_, [&](const QueuedJob& queued) {
      if (!queued.job->cancelled()) return false;
      cancelled.push_back(queued.job);
      return true;
    });
  }
  for (const std::shared_ptr<StageJob>& job : cancelled) runner_.FailCancelled(*job);
}

absl::StatusOr<Residency::Evicted> Residency::Evict(const std::string& model,
                                                    const std::string& device) {
  DropCancelled();
  {
    absl::MutexLock lock(&mu_);
    for (const std::shared_ptr<StageJob>& job : JobsFor(model, device)) {
      if (job->snapshot().final()) continue;
      return ErrorWithReason(
          absl::StatusCode::kFailedPrecondition, Reason::kModelBusy,
          absl::StrCat(model, " is being staged on ", job->device(), ", job ", job->id().value()));
    }
  }
  ASSIGN_OR_RETURN(std::vector<Doomed> doomed, table_.Evict(model, device));
  Evicted evicted;
  for (const Doomed& one : doomed) evicted.bytes += one.info.allocated_bytes;
  evicted.generations = static_cast<uint32_t>(doomed.size());
  FreeDoomed(std::move(doomed), table_, events_);
  return evicted;
}

absl::StatusOr<std::vector<GenerationInfo>> Residency::SetPinned(const std::string& model,
                                                                 const std::string& device,
                                                                 bool pinned) {
  ASSIGN_OR_RETURN(std::vector<GenerationInfo> changed, table_.SetPinned(model, device, pinned));
  for (const GenerationInfo& info : changed) {
    Event event;
    event.type = pinned ? EventType::kPinned : EventType::kUnpinned;
    event.model = info.model;
    event.device = info.device;
    event.generation_id = info.id.value();
    event.bytes = info.allocated_bytes;
    events_.Publish(std::move(event));
  }
  return changed;
}

absl::StatusOr<HeldGeneration> Residency::Acquire(const std::string& model,
                                                  const std::string& device) {
  return table_.Acquire(model, device, options_.default_device, clock_.Now());
}

void Residency::Release(GenerationId id) {
  std::vector<Doomed> doomed = table_.Release(id, clock_.Now());
  if (doomed.empty()) return;
  absl::MutexLock lock(&mu_);
  for (Doomed& one : doomed) doomed_.push_back(std::move(one));
}

void Residency::set_publish_listener(StageRunner::PublishListener listener) {
  runner_.set_publish_listener(std::move(listener));
}

std::vector<GenerationInfo> Residency::List(const std::string& model) const {
  return table_.List(model);
}

ReadPathInfo Residency::read_path() const {
  return {.engine = stager_->engine(),
          .fallbacks = stager_->fallbacks(),
          .block_bytes = options_.stager.block_bytes,
          .pool_bytes = stager_->pool_bytes(),
          .pool_pages = stager_->page_kind()};
}

Residency::JobCounts Residency::job_counts() const {
  absl::MutexLock lock(&mu_);
  return {.running = static_cast<uint32_t>(running_.size()),
          .queued = static_cast<uint32_t>(queue_.size())};
}

void Residency::Shutdown() {
  {
    absl::MutexLock lock(&mu_);
    shutdown_ = true;
    for (const QueuedJob& queued : queue_) queued.job->Cancel();
    for (const auto& job : running_) job->Cancel();
  }
  for (std::thread& worker : workers_) {
    if (worker.joinable()) worker.join();
  }
}

}  // namespace weightd
