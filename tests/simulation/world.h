#ifndef WEIGHTD_TESTS_SIMULATION_WORLD_H_
#define WEIGHTD_TESTS_SIMULATION_WORLD_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "daemon/lease/lease_table.h"
#include "daemon/residency/residency.h"
#include "tests/simulation/faults.h"
#include "tests/simulation/published_models.h"
#include "tests/simulation/simulated_device.h"
#include "tests/support/common/fake_clock.h"
#include "tests/support/executor/simulated_executor.h"
#include "tests/support/storage/memory_read_queue.h"

namespace weightd::testing {

// The daemon's residency, staging and lease code on a volume and devices in memory, with everything
// that may happen to it: operators, clients that die, publishers, failures. The seed decides what
// happens, and in which order what goes on at the same time.
//
// Thread-compatible.
class World {
 public:
  explicit World(uint64_t seed);
  ~World();

  // One decision: somebody begins something, or something that goes on does its next part.
  void Step();
  // What has begun comes to its end; no failures meanwhile.
  void Quiesce();
  // Everybody leaves, everything is evicted, the daemon's parts are destroyed.
  void End();

  // The first thing that was not as it must be; empty is good.
  const std::string& violation() const { return violation_; }
  // The last events, and the copies in the books: for somebody who looks for the reason.
  std::string Describe() const;
  // How often each event was published, and what else shows that the walk has been everywhere.
  const std::map<std::string, uint64_t>& counts() const { return counts_; }

 private:
  // A process that attaches.
  struct Client {
    enum class Phase { kBusy, kWaiting, kAnswered, kHolding, kGone };
    Phase phase = Phase::kBusy;
    LeaseRequest request;
    bool wait = false;
    bool dead = false;
    std::shared_ptr<StageJob> job;
    uint64_t observer = 0;
    StageSnapshot answer;  // with kAnswered
    Grant grant;           // with kHolding
    std::optional<MappedExport> mapped;
    bool revoked = false;
  };
  using ClientPtr = std::shared_ptr<Client>;

  uint64_t Below(uint64_t limit) { return random_() % limit; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  std::string AnyName();    // of a model, or with a generation or a revision
  std::string AnyDevice();  // or ""

  void Act();
  void Stage();
  void LeaveJob();
  void StartAttach();
  void Attach(Client& client);
  void GoOn(Client& client);
  void Granted(Client& client, absl::StatusOr<Grant> grant);
  void CheckBytes(Client& client);
  void EndClient(Client& client);
  void KillClient();
  void Evict();
  void Revoke();
  void Pin();
  void Publish();
  void Verify();
  void HangOrAnswer();
  // What the volume does with the next read.
  ReadFault NextRead();
  std::unique_ptr<ReadQueue> MakeQueue(const ReadQueueOptions& options);
  // The clients in `phase`.
  std::vector<ClientPtr> ClientsIn(Client::Phase phase) const;
  SimulatedDevice* DeviceOf(const std::string& id) const;
  // One part of what must be done for everything to come to rest; false when it has.
  bool SettleOne();

  void Violate(std::string text);
  void Check();
  void CheckLeases(const std::map<CopyId, CopyInfo>& copies);
  void CheckBooks(const std::vector<CopyInfo>& list);
  void CheckPins(const std::map<CopyId, CopyInfo>& copies);
  void CheckAtRest();
  void OnEvent(const Event& event);

  std::mt19937_64 random_;
  SimulatedExecutor executor_{[this](uint64_t count) { return Below(count); }};
  Faults faults_;
  // A volume that hangs answers no read that it is asked until it is back; now and then one.
  bool hangs_ = false;
  const std::shared_ptr<std::atomic<bool>> answers_ = std::make_shared<std::atomic<bool>>(true);
  FakeClock clock_;
  EventLog events_{clock_, nullptr};
  std::shared_ptr<SimulatedVolume> volume_;
  PublishedModels models_;
  std::vector<std::shared_ptr<SimulatedDevice>> devices_;  // the host, two GPUs
  Catalog catalog_;
  std::unique_ptr<Residency> residency_;
  std::unique_ptr<LeaseTable> leases_;

  std::vector<StageTicket> tickets_;  // of those who have not left
  std::vector<std::shared_ptr<StageJob>> accepted_;
  std::vector<ClientPtr> clients_;
  std::vector<std::vector<CopyInfo>> revoking_;
  int32_t next_pid_ = 1;
  uint32_t evictions_ = 0;
  bool verifying_ = false;

  // As of the last step: what was pinned and resident, and whose pin may have gone since.
  std::map<CopyId, CopyInfo> pinned_;
  std::set<std::string> unpinned_;
  std::multiset<std::string> unpinning_;  // by evictions that go on
  std::string violation_;
  std::map<std::string, uint64_t> counts_;
  std::deque<std::string> last_events_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SIMULATION_WORLD_H_
