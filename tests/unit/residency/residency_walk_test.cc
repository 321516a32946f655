// A long random walk over the books beside a simple model of them, with the invariants of
// design.md section 5 checked after every step.

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/residency/table_books.h"

namespace weightd::testing {
namespace {

constexpr int kSteps = 100'000;
constexpr uint64_t kBudgetBytes = 100;

// What the model remembers of a generation.
struct Known {
  std::string model;
  std::string device;
  uint64_t bytes = 0;
  ResidencyState state = ResidencyState::kStaging;
  int leases = 0;
  bool superseded = false;
  std::shared_ptr<Allocation> memory = {};  // while the driver has it
};

class Walk {
 public:
  explicit Walk(uint64_t seed) : random_(seed) {}

  void Step() {
    switch (random_() % 8) {
      case 0:
      case 1:
        return Admit();
      case 2:
        return EndStaging();
      case 3:
        return Acquire();
      case 4:
        return Release();
      case 5:
        return Pin();
      case 6:
        return Evict();
      default:
        return FreeOne();
    }
  }

  void Check() const {
    const std::vector<CopyInfo> list = table_.List();
    ASSERT_EQ(list.size(), known_.size());
    std::map<std::string, DeviceUsage> sums;
    std::map<std::pair<std::string, std::string>, int> current;
    for (const CopyInfo& info : list) {
      const Known& known = known_.at(info.copy);
      ASSERT_EQ(info.state, known.state);
      ASSERT_EQ(info.lease_count, known.leases);
      ASSERT_EQ(info.pinned, IsPinned(known));
      ASSERT_EQ(info.superseded, known.superseded);
      // Held is resident, and resident is in memory.
      ASSERT_TRUE(known.leases == 0 || info.state == ResidencyState::kResident);
      if (info.state == ResidencyState::kResident) {
        ASSERT_NE(known.memory, nullptr);
        ASSERT_TRUE(!known.superseded || known.leases > 0);
        if (!known.superseded) ++current[{info.model, info.device}];
      }
      DeviceUsage& sum = sums[info.device];
      sum.used_bytes += known.bytes;
      if (known.leases > 0) sum.leased_bytes += known.bytes;
      if (info.state == ResidencyState::kResident && info.pinned) sum.pinned_bytes += known.bytes;
      if (info.state == ResidencyState::kStaging) sum.staging_bytes += known.bytes;
    }
    for (const auto& [key, count] : current) ASSERT_EQ(count, 1);
    for (const DeviceUsage& usage : table_.Usage()) {
      const DeviceUsage& sum = sums[usage.budget.device];
      ASSERT_EQ(usage.used_bytes, sum.used_bytes);
      ASSERT_EQ(usage.leased_bytes, sum.leased_bytes);
      ASSERT_EQ(usage.pinned_bytes, sum.pinned_bytes);
      ASSERT_EQ(usage.staging_bytes, sum.staging_bytes);
      ASSERT_LE(usage.used_bytes, usage.budget.bytes);
    }
  }

  int admitted() const { return admitted_; }
  int refused() const { return refused_; }
  int evicted() const { return evicted_; }

 private:
  std::string AnyModel() { return absl::StrCat("m", random_() % 5); }
  std::string AnyDevice() { return random_() % 3 == 0 ? "gpu" : "host"; }
  absl::Time Now() { return now_ += absl::Seconds(1); }

  // A pin is a wish: it is there also while nothing is resident.
  bool IsPinned(const Known& known) const {
    return !known.superseded && pins_.contains({known.model, known.device});
  }

  // One that `wanted` accepts, or none.
  template <typename Wanted>
  CopyId Any(Wanted wanted) {
    std::vector<CopyId> ids;
    for (const auto& [id, known] : known_) {
      if (wanted(known)) ids.push_back(id);
    }
    return ids.empty() ? CopyId() : ids[random_() % ids.size()];
  }

  void TakeDoomed(const std::vector<Doomed>& doomed) {
    for (const Doomed& one : doomed) {
      Known& known = known_.at(one.info.copy);
      ASSERT_EQ(known.leases, 0);
      ASSERT_EQ(known.state, ResidencyState::kResident);
      ASSERT_EQ(known.memory, one.allocation);
      known.state = ResidencyState::kEvicting;
      ++evicted_;
    }
  }

  void Admit() {
    const std::string model = AnyModel();
    const std::string device = AnyDevice();
    const uint64_t bytes = 1 + random_() % 60;
    uint64_t stays = 0;
    for (const auto& [id, known] : known_) {
      const bool may_go =
          known.state == ResidencyState::kResident && known.leases == 0 && !IsPinned(known);
      const bool goes =
          known.state == ResidencyState::kEvicting || known.state == ResidencyState::kFailed;
      if (known.device == device && !may_go && !goes) stays += known.bytes;
    }
    auto admission = table_.Admit(TableBooks::Claim(model, device, bytes));
    ASSERT_EQ(admission.ok(), stays + bytes <= kBudgetBytes);
    if (!admission.ok()) {
      ++refused_;
      return;
    }
    for (const Doomed& victim : admission->victims) {
      ASSERT_FALSE(IsPinned(known_.at(victim.info.copy)));
      ASSERT_EQ(victim.info.device, device);
    }
    TakeDoomed(std::move(admission->victims));
    if (!admission->admitted) return;
    ++admitted_;
    generations_[admission->copies[0]] = *admission;
    known_[admission->copies[0]] = {.model = model, .device = device, .bytes = bytes};
  }

  void EndStaging() {
    const CopyId id =
        Any([](const Known& known) { return known.state == ResidencyState::kStaging; });
    if (!id.valid()) return;
    Known& known = known_.at(id);
    if (random_() % 4 == 0) {
      table_.Fail(id);
      known.state = ResidencyState::kFailed;
      return;
    }
    const bool pin = random_() % 5 == 0;
    if (pin) pins_.insert({known.model, known.device});
    known.memory = std::make_shared<EmptyAllocation>();
    for (auto& [other_id, other] : known_) {
      if (other.model != known.model || other.device != known.device || other.superseded ||
          other.state != ResidencyState::kResident || &other == &known) {
        continue;
      }
      // A newer one may have been published first: then this one is what is not worth keeping.
      (other_id < id ? other : known).superseded = true;
    }
    PublishResult result = table_.Publish(
        {{.id = id,
          .content = TableBooks::Content(generations_.at(id), 0, known.model, known.device),
          .allocation = known.memory}},
        pin, Now());
    TakeDoomed(result.doomed);
    known.state = ResidencyState::kResident;
    TakeDoomed(table_.Unhold(id));
  }

  void Acquire() {
    const std::string model = AnyModel();
    auto held = table_.Acquire({.model = model}, "", Now());
    const bool resident = Any([&](const Known& known) {
                            return known.model == model && !known.superseded &&
                                   known.state == ResidencyState::kResident;
                          }).valid();
    ASSERT_EQ(held.ok(), resident);
    if (!held.ok()) return;
    Known& known = known_.at(held->content->copy);
    ASSERT_EQ(known.model, model);
    ASSERT_EQ(known.state, ResidencyState::kResident);
    ASSERT_FALSE(known.superseded);
    ASSERT_EQ(held->allocation, known.memory);
    ++known.leases;
  }

  void Release() {
    const CopyId id = Any([](const Known& known) { return known.leases > 0; });
    if (!id.valid()) return;
    Known& known = known_.at(id);
    --known.leases;
    std::vector<Doomed> doomed = table_.Release(id, Now());
    ASSERT_EQ(doomed.size(), known.leases == 0 && known.superseded ? 1 : 0);
    TakeDoomed(std::move(doomed));
  }

  void Pin() {
    const std::string model = AnyModel();
    const std::string device = AnyDevice();
    const bool pinned = random_() % 3 == 0;
    const auto changed = table_.SetPinned({.model = model}, device, pinned);
    const bool was_pinned = pins_.contains({model, device});
    const bool resident = Any([&](const Known& known) {
                            return known.model == model && known.device == device &&
                                   !known.superseded && known.state == ResidencyState::kResident;
                          }).valid();
    ASSERT_EQ(changed.ok(), resident || (was_pinned && !pinned));
    if (!changed.ok()) return;
    if (pinned) {
      pins_.insert({model, device});
    } else {
      pins_.erase({model, device});
    }
  }

  void Evict() {
    const std::string model = AnyModel();
    auto doomed = table_.Evict({.model = model}, AnyDevice(), false);
    if (!doomed.ok()) return;
    ASSERT_EQ(doomed->doomed.size(), 1);
    ASSERT_EQ(doomed->doomed.front().info.model, model);
    ASSERT_FALSE(IsPinned(known_.at(doomed->doomed.front().info.copy)));
    TakeDoomed(std::move(doomed->doomed));
  }

  void FreeOne() {
    const CopyId id = Any([](const Known& known) {
      return known.state == ResidencyState::kEvicting || known.state == ResidencyState::kFailed;
    });
    if (!id.valid()) return;
    known_.at(id).memory.reset();
    table_.Freed(id);
    known_.erase(id);
  }

  std::mt19937_64 random_;
  ResidencyTable table_{{.budgets = {{"host", DeviceKind::kHost, kBudgetBytes},
                                     {"gpu", DeviceKind::kCuda, kBudgetBytes}},
                         .demote = false},
                        ThreadExecutor::Get()};
  absl::Time now_ = absl::FromUnixSeconds(0);
  std::map<CopyId, Known> known_;
  std::set<std::pair<std::string, std::string>> pins_;  // model, device
  std::map<CopyId, Admission> generations_;
  int admitted_ = 0;
  int refused_ = 0;
  int evicted_ = 0;
};

TEST(ResidencyWalkTest, InvariantsHoldAfterEveryStep) {
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    Walk walk(seed);
    for (int step = 0; step < kSteps / 2; ++step) {
      walk.Step();
      walk.Check();
      if (::testing::Test::HasFatalFailure()) {
        FAIL() << "seed " << seed << " step " << step;
      }
    }
    // The walk has been everywhere.
    EXPECT_GT(walk.admitted(), 1000);
    EXPECT_GT(walk.refused(), 1000);
    EXPECT_GT(walk.evicted(), 1000);
  }
}

}  // namespace
}  // namespace weightd::testing
