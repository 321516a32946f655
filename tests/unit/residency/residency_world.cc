#include "tests/unit/residency/residency_world.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/check.h"
#include "daemon/catalog/root_scan.h"
#include "tests/support/checkpoints/checkpoint_writer.h"

namespace weightd::testing {

absl::Time GateClock::Now() const {
  absl::MutexLock lock(&mu_);
  if (calls_left_ > 0 && --calls_left_ == 0) {
    stopped_ = true;
    mu_.Await(absl::Condition(&open_));
  }
  return time_.Now();
}

void GateClock::StopCall(int nth) {
  absl::MutexLock lock(&mu_);
  calls_left_ = nth;
  stopped_ = false;
  open_ = false;
}

void GateClock::AwaitStopped() {
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(&stopped_));
}

void GateClock::Open() {
  absl::MutexLock lock(&mu_);
  open_ = true;
}

EventRecorder::EventRecorder(EventLog& log) : log_(log) {
  id_ = log_.Watch([this](const Event& event) {
    absl::MutexLock lock(&mu_);
    lines_.push_back(absl::StrCat(EventTypeName(event.type), " ", event.model));
  });
}

EventRecorder::~EventRecorder() { log_.Unwatch(id_); }

std::vector<std::string> EventRecorder::lines() const {
  WEIGHTD_CHECK(log_.Settle(absl::InfiniteDuration()));
  absl::MutexLock lock(&mu_);
  return lines_;
}

void EventRecorder::Await(const std::string& line, int nth) {
  absl::MutexLock lock(&mu_);
  const auto seen = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return std::count(lines_.begin(), lines_.end(), line) >= nth;
  };
  mu_.Await(absl::Condition(&seen));
}

void ResidencyWorld::LookThroughTheRoot() {
  auto found = ScanVolume(*catalog_->roots().front()->volume(), catalog_->options());
  WEIGHTD_CHECK(found.ok());
  auto scan = std::make_shared<RootScan>();
  scan->checkpoints = std::move(found->checkpoints);
  catalog_->set_last_scans([scan](size_t) { return scan; });
}

ResidencyWorld::ResidencyWorld(const WorldOptions& options) {
  WEIGHTD_CHECK(events_.Start().ok());
  auto volume = OpenVolume(dir_.path());
  WEIGHTD_CHECK(volume.ok());
  catalog_ = std::make_unique<Catalog>(
      std::vector<std::shared_ptr<Volume>>{std::shared_ptr<Volume>(*std::move(volume))},
      CatalogOptions{.header_threads = 1});
  std::shared_ptr<Device> device = options.device;
  if (device == nullptr) device = CreateHostDevice({});
  device_id_ = device->info().id;

  ResidencyOptions residency_options;
  residency_options.table.budgets = {{device_id_, device->info().kind, options.budget_bytes}};
  std::vector<std::shared_ptr<Device>> devices = {std::move(device)};
  for (const auto& [more, budget] : options.more_devices) {
    device_id_ = more->info().id;
    residency_options.table.budgets.push_back({device_id_, more->info().kind, budget});
    devices.push_back(more);
  }
  residency_options.table.demote = options.demote;
  residency_options.pins = options.pins;
  residency_options.last_uses = options.last_uses;
  residency_options.default_device = device_id_;
  residency_options.queue.jobs_max = options.jobs_max;
  residency_options.queue.queue_max = options.queue_max;
  residency_options.stager.block_bytes = 2 * kMiB;
  residency_options.stager.depth = 2;
  residency_options.stager.slot_count = 2;
  residency_options.stager.host_slot_count = 2;
  residency_options.stager.read_queue.engine = options.engine;
  residency_options.stager.read_queue.pread_threads = 2;
  auto residency = Residency::Create(residency_options, *catalog_, std::move(devices), events_,
                                     clock_, ThreadExecutor::Get());
  WEIGHTD_CHECK(residency.ok());
  residency_ = *std::move(residency);
}

ResidencyWorld::~ResidencyWorld() { clock_.Open(); }

void ResidencyWorld::AddModel(const std::string& model, uint64_t seed, uint64_t bytes) {
  const std::vector<TensorSpec> specs = {{.name = "weight", .dtype = Dtype::kU8, .shape = {bytes}}};
  WEIGHTD_CHECK(WriteSafetensors(PathOf(model), specs, {.seed = seed}).ok());
}

StageTicket ResidencyWorld::Start(const StageRequest& request) {
  auto ticket = residency_->Stage(request);
  WEIGHTD_CHECK(ticket.ok());
  return *std::move(ticket);
}

StageSnapshot ResidencyWorld::Stage(const StageRequest& request) {
  return AwaitEnd(*Start(request).job);
}

bool ResidencyWorld::Holds(const std::string& model, uint64_t seed, const std::string& device) {
  auto held = residency_->Acquire(model, device);
  if (!held.ok()) return false;
  std::vector<std::byte> bytes(held->content->tensor_bytes);
  const bool read =
      held->allocation->CopyOut(held->content->layout->tensor_offsets[0], absl::MakeSpan(bytes))
          .ok();
  held->allocation.reset();
  residency_->Release(held->content->copy);
  return read && FindWrongByte(seed, "weight", 0, bytes) == -1;
}

std::vector<std::string> ResidencyWorld::CopiesOf(const std::string& model) const {
  std::vector<std::string> copies;
  for (const CopyInfo& info : residency_->List(model)) {
    if (info.state != ResidencyState::kResident || info.superseded) continue;
    copies.push_back(info.device + (info.host_copy ? " (host copy)" : ""));
  }
  return copies;
}

std::vector<std::string> ResidencyWorld::ResidentModels() const {
  std::vector<std::string> models;
  for (const CopyInfo& info : residency_->List()) {
    if (info.state == ResidencyState::kResident && !info.superseded) models.push_back(info.model);
  }
  return models;
}

StageSnapshot AwaitEnd(StageJob& job) {
  absl::Notification ended;
  const uint64_t id = job.Observe([&](const StageSnapshot& snapshot) {
    if (snapshot.final()) ended.Notify();
  });
  ended.WaitForNotification();
  job.Unobserve(id);
  return job.snapshot();
}

}  // namespace weightd::testing
