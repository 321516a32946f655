#include "tests/simulation/world.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "common/errors.h"
#include "tests/simulation/simulated_read_queue.h"

namespace weightd::testing {
namespace {

constexpr uint32_t kJobsMax = 4;
constexpr uint32_t kLeasesPerUidMax = 5;
constexpr size_t kReadyMax = 8;

// Models take up to 24 KiB: no device has room for all, the smallest not even for each.
struct DeviceSpec {
  const char* id;
  DeviceKind kind;
  uint64_t budget_bytes;
};
constexpr DeviceSpec kDevices[] = {{"host", DeviceKind::kHost, 44 * kKiB},
                                   {"GPU-0", DeviceKind::kCuda, 32 * kKiB},
                                   {"GPU-1", DeviceKind::kCuda, 16 * kKiB}};

LeaseOptions Leases() { return {.leases_per_uid_max = kLeasesPerUidMax, .leases_max = 12}; }

}  // namespace

World::World(uint64_t seed)
    : random_(seed),
      volume_(std::make_shared<SimulatedVolume>(faults_)),
      models_(volume_->inner(), seed),
      catalog_({volume_}, CatalogOptions{.header_threads = 1}) {
  ResidencyOptions options;
  options.queue = {.jobs_max = static_cast<uint32_t>(1 + seed % kJobsMax),
                   .queue_max = 8,
                   .jobs_per_uid_max = 3};
  options.stager.block_bytes = 2 * kMiB;
  options.stager.slot_count = 3;
  options.stager.read_queue.stall_timeout = absl::Milliseconds(100);  // two looks
  options.stager.read_queue.stuck_max = 8;
  options.stager.make_queue = [this](const ReadQueueOptions& queue) { return MakeQueue(queue); };
  std::vector<std::shared_ptr<Device>> devices;
  for (const DeviceSpec& spec : kDevices) {
    devices_.push_back(
        std::make_shared<SimulatedDevice>(spec.id, spec.kind, spec.budget_bytes, faults_));
    devices.push_back(devices_.back());
    options.table.budgets.push_back(
        {.device = spec.id, .kind = spec.kind, .bytes = spec.budget_bytes});
  }
  options.default_device = "GPU-0";
  auto residency = Residency::Create(options, catalog_, devices, events_, clock_, executor_);
  residency_ = *std::move(residency);
  leases_ = std::make_unique<LeaseTable>(Leases(), *residency_, events_, clock_);
  executor_.set_start_fault([this]() -> absl::Status {
    if (faults_.Hit(Call::kStart).ok()) return absl::OkStatus();
    return absl::ResourceExhaustedError("start thread: none is left");
  });
  events_.Watch([this](const Event& event) { OnEvent(event); });
}

World::~World() {
  if (residency_ != nullptr && violation_.empty()) End();
}

void World::Step() {
  clock_.Advance(absl::Milliseconds(10));
  // Mostly less than any wait of the product, now and then more than most.
  executor_.Advance(OneIn(32) ? absl::Milliseconds(100) : absl::Milliseconds(1));
  unpinned_.clear();
  const size_t ready = executor_.ready();
  if (ready > 0 && (ready >= kReadyMax || Below(100) < 73)) {
    executor_.Step();
  } else {
    Act();
  }
  events_.Deliver();
  Check();
}

void World::Act() {
  const uint64_t choice = Below(70);
  if (choice < 12) return Stage();
  if (choice < 15) return LeaveJob();
  if (choice < 30) return StartAttach();
  if (choice < 42) {
    const auto answered = ClientsIn(Client::Phase::kAnswered);
    if (!answered.empty()) GoOn(*answered[Below(answered.size())]);
    return;
  }
  if (choice < 52) return KillClient();
  if (choice < 56) return Evict();
  if (choice < 58) return Revoke();
  if (choice < 61) return Pin();
  if (choice < 64) return Publish();
  if (choice < 65) return HangOrAnswer();
  if (choice < 67) return Verify();
  faults_.Arm(static_cast<Call>(Below(static_cast<uint64_t>(Call::kCount))),
              static_cast<uint32_t>(1 + Below(6)));
}

std::string World::AnyName() {
  const std::string name = models_.names()[Below(models_.names().size())];
  if (name == PublishedModels::kHubModel && OneIn(2)) {
    const std::string& revision = models_.revisions()[Below(models_.revisions().size())];
    return absl::StrCat(name, "@", revision.substr(0, OneIn(2) ? 40 : 8));
  }
  if (!OneIn(8)) return name;
  const std::vector<CopyInfo> copies = residency_->List(name);
  return copies.empty() ? name : absl::StrCat(name, "@", copies[Below(copies.size())].id.value());
}

std::string World::AnyDevice() {
  const uint64_t choice = Below(4);
  return choice == 3 ? "" : kDevices[choice].id;
}

SimulatedDevice* World::DeviceOf(const std::string& id) const {
  for (const auto& device : devices_) {
    if (device->info().id == id) return device.get();
  }
  return nullptr;
}

void World::Stage() {
  StageRequest request;
  request.model = AnyName();
  request.devices = {AnyDevice()};
  if (OneIn(3)) request.devices.push_back(AnyDevice());
  request.pin = OneIn(12);
  request.detached = OneIn(2);
  request.restage = OneIn(6);
  request.host_copy = OneIn(4);
  request.priority = OneIn(4) ? JobPriority::kRefresh : JobPriority::kOperator;
  request.uid = static_cast<uint32_t>(Below(3));
  const auto ticket = residency_->Stage(request);
  if (!ticket.ok()) return;
  ++counts_[ticket->joined ? "joined" : "accepted"];
  accepted_.push_back(ticket->job);
  if (!request.detached) tickets_.push_back(*ticket);
}

void World::LeaveJob() {
  if (tickets_.empty()) return;
  const size_t index = Below(tickets_.size());
  tickets_[index].job->Leave(tickets_[index].user);
  tickets_.erase(tickets_.begin() + static_cast<std::ptrdiff_t>(index));
}

void World::Evict() {
  if (evictions_ >= 2) return;
  const std::string name = AnyName();
  const std::string device = AnyDevice();
  const bool force = OneIn(4);
  if (force) unpinning_.insert(name.substr(0, name.find('@')));
  ++evictions_;
  executor_.Launch("evict", [this, name, device, force] {
    auto evicted = residency_->Evict(name, device, force);
    if (evicted.ok() && !evicted->revoking.empty()) {
      leases_->NotifyRevoking(evicted->revoking, clock_.Now() + absl::Seconds(1));
      revoking_.push_back(std::move(evicted->revoking));
    }
    --evictions_;
    if (!force) return;
    const auto ended = unpinning_.find(name.substr(0, name.find('@')));
    unpinned_.insert(*ended);
    unpinning_.erase(ended);
  });
}

// Nothing damages memory here.
void World::Verify() {
  if (std::exchange(verifying_, true)) return;
  executor_.Launch("verify", [this, name = AnyName(), device = AnyDevice()] {
    const auto verified = residency_->Verify(name, device, {});
    verifying_ = false;
    if (!verified.ok()) return;
    ++counts_["verified by a client"];
    for (const VerifiedCopy& copy : *verified) {
      if (copy.damaged_tensors.empty()) continue;
      Violate(absl::StrCat("damaged: ", copy.info.model, " on ", copy.info.device));
    }
  });
}

void World::Revoke() {
  if (revoking_.empty()) return;
  leases_->Revoke(revoking_.back());
  revoking_.pop_back();
}

void World::Pin() {
  const bool pinned = OneIn(4);
  const std::string name = AnyName();
  if (!pinned) unpinned_.insert(name.substr(0, name.find('@')));
  (void)residency_->SetPinned(name, AnyDevice(), pinned);
}

void World::Publish() {
  const std::string& name = models_.names()[Below(models_.names().size())];
  switch (Below(8)) {
    case 0:
      return models_.Remove(name);
    case 1:
    case 2:
      return models_.WriteOver(name);
    default:
      return models_.Replace(name);
  }
}

void World::HangOrAnswer() {
  hangs_ = !hangs_ && OneIn(2);
  *answers_ = !hangs_;
  if (hangs_) ++counts_["hangs"];
}

ReadFault World::NextRead() {
  ReadFault fault;
  fault.stalls = hangs_ && !OneIn(3);
  return fault;
}

// A read may hang by itself, or with the thread that asks for it.
std::unique_ptr<ReadQueue> World::MakeQueue(const ReadQueueOptions& options) {
  auto queue = MemoryReadQueue::Create(
      options,
      {.seed = random_(), .choose_fault = [this] { return NextRead(); }, .comes_back = answers_});
  const auto held = [this, is_held = false]() mutable {
    if (!is_held && hangs_ && OneIn(16)) {
      is_held = true;
      ++counts_["threads held"];
    }
    is_held = is_held && !*answers_;
    return is_held;
  };
  return std::make_unique<SimulatedReadQueue>(*std::move(queue), executor_, held);
}

bool World::SettleOne() {
  if (executor_.Step()) return true;
  if (const auto answered = ClientsIn(Client::Phase::kAnswered); !answered.empty()) {
    GoOn(*answered.front());
    return true;
  }
  if (!revoking_.empty()) {
    Revoke();
    return true;
  }
  return executor_.SkipToNextWake();
}

void World::Quiesce() {
  constexpr int kPartsMax = 200'000;
  faults_.Heal();
  hangs_ = false;
  *answers_ = true;
  for (int parts = 0; violation_.empty(); ++parts) {
    if (parts == kPartsMax) return Violate("what has begun does not come to its end");
    unpinned_.clear();
    if (!SettleOne()) break;
    events_.Deliver();
    Check();
  }
  CheckAtRest();
}

void World::End() {
  Quiesce();
  for (const ClientPtr& client : clients_) EndClient(*client);
  clients_.clear();
  tickets_.clear();
  accepted_.clear();
  Quiesce();  // what they had is given back
  if (leases_->count() > 0) Violate("leases are left when all clients are gone");
  leases_.reset();
  residency_.reset();
  for (const auto& device : devices_) {
    if (device->inner().allocation_count() > 0) {
      Violate(absl::StrCat(device->info().id, " has allocations at the end"));
    }
  }
}

}  // namespace weightd::testing
