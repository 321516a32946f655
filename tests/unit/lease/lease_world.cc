#include "tests/unit/lease/lease_world.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/align.h"
#include "common/check.h"
#include "common/status_macros.h"
#include "tests/support/checkpoints/checkpoint_writer.h"

namespace weightd::testing {
namespace {

class HookedAllocation final : public ForwardingAllocation {
 public:
  HookedAllocation(HookedDevice& device, std::unique_ptr<Allocation> inner)
      : ForwardingAllocation(std::move(inner)), device_(device) {}
  absl::StatusOr<Export> CreateExport() const override {
    RETURN_IF_ERROR(device_.CallHook());
    return ForwardingAllocation::CreateExport();
  }

 private:
  HookedDevice& device_;
};

}  // namespace

void HookedDevice::OnExport(Hook hook) {
  absl::MutexLock lock(&mu_);
  hook_ = std::move(hook);
}

absl::Status HookedDevice::CallHook() {
  Hook hook;
  {
    absl::MutexLock lock(&mu_);
    hook = hook_;
  }
  return hook ? hook() : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Allocation>> HookedDevice::Allocate(uint64_t bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<Allocation> allocation, inner().Allocate(bytes));
  return std::make_unique<HookedAllocation>(*this, std::move(allocation));
}

std::function<void(const LeaseNotice&)> Notices::Callback() {
  return [this](const LeaseNotice& notice) {
    absl::MutexLock lock(&mu_);
    switch (notice.kind) {
      case LeaseNotice::Kind::kSuperseded:
        return lines_.push_back(absl::StrCat("superseded ", notice.generation.value()));
      case LeaseNotice::Kind::kDraining:
        return lines_.push_back("draining");
      case LeaseNotice::Kind::kRevoking:
        return lines_.push_back("revoking");
      case LeaseNotice::Kind::kRevoked:
        return lines_.push_back("revoked");
      case LeaseNotice::Kind::kDamaged:
        return lines_.push_back("damaged");
    }
  };
}

std::vector<std::string> Notices::lines() const {
  absl::MutexLock lock(&mu_);
  return lines_;
}

LeaseWorld::LeaseWorld(DeviceKind kind, const LeaseOptions& options) {
  WEIGHTD_CHECK(events_.Start().ok());
  events_.Watch([this](const Event& event) {
    absl::MutexLock lock(&mu_);
    events_seen_.push_back(
        absl::StrCat(EventTypeName(event.type), " ", event.model, " ", event.detail));
  });
  auto volume = OpenVolume(dir_.path());
  WEIGHTD_CHECK(volume.ok());
  catalog_ = std::make_unique<Catalog>(
      std::vector<std::shared_ptr<Volume>>{std::shared_ptr<Volume>(*std::move(volume))},
      CatalogOptions{.header_threads = 1});
  device_ = std::make_shared<HookedDevice>(MemoryDeviceOptions{.id = "device", .kind = kind});

  ResidencyOptions residency_options;
  residency_options.table.budgets = {{"device", kind, 32 * kMiB}};
  residency_options.default_device = "device";
  residency_options.queue.jobs_max = 1;
  residency_options.stager.block_bytes = 2 * kMiB;
  residency_options.stager.depth = 1;
  residency_options.stager.slot_count = 1;
  residency_options.stager.read_queue.engine = ReadEngine::kPread;
  residency_options.stager.read_queue.pread_threads = 1;
  auto residency = Residency::Create(residency_options, *catalog_, {device_}, events_, clock_,
                                     ThreadExecutor::Get());
  WEIGHTD_CHECK(residency.ok());
  residency_ = *std::move(residency);
  leases_ = std::make_unique<LeaseTable>(options, *residency_, events_, clock_);
}

LeaseWorld::~LeaseWorld() {
  if (leases_ == nullptr) return;
  for (const LeaseInfo& lease : leases_->List()) leases_->End(lease.id, "test ends");
}

GenerationId LeaseWorld::Stage(const std::string& model, bool restage) {
  const std::string path = dir_.File(model + ".safetensors");
  if (!std::filesystem::exists(path)) {
    const std::vector<TensorSpec> specs = {{.name = "w", .dtype = Dtype::kU8, .shape = {1000}}};
    WEIGHTD_CHECK(WriteSafetensors(path, specs).ok());
  }
  const auto ticket = residency_->Stage({.model = model, .restage = restage});
  WEIGHTD_CHECK(ticket.ok());
  absl::Notification ended;
  const uint64_t id = ticket->job->Observe([&](const StageSnapshot& snapshot) {
    if (snapshot.final()) ended.Notify();
  });
  ended.WaitForNotification();
  ticket->job->Unobserve(id);
  const StageSnapshot snapshot = ticket->job->snapshot();
  WEIGHTD_CHECK(snapshot.phase == StagePhase::kDone);
  return snapshot.contents[0]->id;
}

LeaseRequest LeaseWorld::Request(const std::string& model, int32_t pid, uint32_t uid) {
  LeaseRequest request;
  request.peer.pid = pid;
  request.peer.uid = uid;
  request.peer.same_pid_namespace = true;
  request.model = model;
  request.client_name = "client";
  request.on_notice = notices_.Callback();
  return request;
}

std::vector<std::string> LeaseWorld::TakeEvents() {
  WEIGHTD_CHECK(events_.Settle(absl::InfiniteDuration()));
  absl::MutexLock lock(&mu_);
  return std::exchange(events_seen_, {});
}

std::vector<std::string> LeaseWorld::AwaitEvents(size_t count) {
  absl::MutexLock lock(&mu_);
  const auto enough = [&]()
                          ABSL_SHARED_LOCKS_REQUIRED(mu_) { return events_seen_.size() >= count; };
  mu_.Await(absl::Condition(&enough));
  return std::exchange(events_seen_, {});
}

uint32_t LeaseWorld::lease_count(const std::string& model) const {
  uint32_t count = 0;
  for (const CopyInfo& info : residency_->List(model)) count += info.lease_count;
  return count;
}

}  // namespace weightd::testing
