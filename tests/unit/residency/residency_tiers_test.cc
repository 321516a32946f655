// Copies of one generation on several devices: made, promoted, demoted, replaced.

#include "daemon/residency/residency.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"
#include "tests/support/process/wait_until.h"
#include "tests/unit/residency/residency_world.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr uint64_t kBytes = 100'000;

class ResidencyTiersTest : public ::testing::Test {
 protected:
  void MakeWorld(uint64_t host_units, uint64_t gpu_units, WorldOptions options = {}) {
    options.device = host_;
    options.budget_bytes = host_units * kUnit;
    options.more_devices = {{gpu1_, gpu_units * kUnit}, {gpu0_, gpu_units * kUnit}};
    world_ = std::make_unique<ResidencyWorld>(options);
  }

  StageSnapshot StageOn(const std::string& model, std::vector<std::string> devices) {
    return world_->Stage({.model = model, .devices = std::move(devices)});
  }
  StageSnapshot Attach(const std::string& model, const std::string& device, bool wait = false) {
    auto ticket = world_->residency().StageForAttach(model, device, wait, 0);
    if (ticket.ok()) return AwaitEnd(*ticket->job);
    StageSnapshot refused;
    refused.status = ticket.status();
    return refused;
  }
  StageReport LastReport() { return world_->residency().reports().front().report; }
  absl::StatusOr<Residency::Evicted> Evict(const std::string& model, const std::string& device) {
    return world_->residency().Evict(model, device, /*force=*/false);
  }

  std::shared_ptr<MemoryDevice> host_ =
      std::make_shared<MemoryDevice>(MemoryDeviceOptions{.id = "host", .kind = DeviceKind::kHost});
  // GPU-0 is the default device.
  std::shared_ptr<MemoryDevice> gpu0_ =
      std::make_shared<MemoryDevice>(MemoryDeviceOptions{.id = "GPU-0"});
  std::shared_ptr<MemoryDevice> gpu1_ =
      std::make_shared<MemoryDevice>(MemoryDeviceOptions{.id = "GPU-1"});
  std::unique_ptr<ResidencyWorld> world_;
};

TEST_F(ResidencyTiersTest, StageToSeveralDevicesReadsTheVolumeOnce) {
  MakeWorld(8, 8);
  world_->AddModel("a", 7, kBytes);
  const StageSnapshot snapshot = StageOn("a", {"GPU-0", "host", "GPU-1"});
  ASSERT_OK(snapshot.status);
  ASSERT_THAT(snapshot.contents, SizeIs(3));
  EXPECT_EQ(snapshot.contents[0]->device.id, "GPU-0");
  EXPECT_EQ(snapshot.contents[1]->device.id, "host");
  EXPECT_EQ(snapshot.contents[1]->id, snapshot.contents[0]->id);
  EXPECT_EQ(snapshot.contents[1]->manifest, snapshot.contents[0]->manifest);
  EXPECT_EQ(LastReport().bytes_read(), kBytes);
  EXPECT_EQ(LastReport().source, kVolumeSource);
  for (const char* device : {"GPU-0", "GPU-1", "host"}) EXPECT_TRUE(world_->Holds("a", 7, device));
}

// Either on all devices or on none.
TEST_F(ResidencyTiersTest, OneDeviceThatFailsLeavesNothingOnTheOthers) {
  MakeWorld(8, 8);
  world_->AddModel("a");
  gpu1_->FailAllocate(1, absl::ResourceExhaustedError("no memory"));
  EXPECT_THAT(StageOn("a", {"GPU-0", "GPU-1"}).status,
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("no memory")));
  EXPECT_THAT(world_->residency().List(), IsEmpty());
  EXPECT_EQ(gpu0_->allocation_count(), 0);
}

TEST_F(ResidencyTiersTest, AnotherDeviceGetsACopyOfWhatIsResident) {
  MakeWorld(8, 8);
  world_->AddModel("a", 7, kBytes);
  const StageSnapshot first = StageOn("a", {"GPU-1"});
  const StageSnapshot both = StageOn("a", {"GPU-1", "GPU-0"});
  ASSERT_OK(both.status);
  EXPECT_FALSE(both.already_resident);
  EXPECT_EQ(both.contents[0], first.contents[0]);
  EXPECT_EQ(both.contents[1]->id, first.contents[0]->id);
  EXPECT_EQ(LastReport().source, "GPU-1");
  EXPECT_EQ(LastReport().bytes_read(), 0);
  EXPECT_TRUE(world_->Holds("a", 7, "GPU-0"));
  // The volume has something else now: that is read.
  world_->AddModel("a", 8, kBytes);
  ASSERT_OK(StageOn("a", {"GPU-0"}).status);
  EXPECT_EQ(LastReport().source, kVolumeSource);
  EXPECT_TRUE(world_->Holds("a", 8, "GPU-0"));
  EXPECT_TRUE(world_->Holds("a", 7, "GPU-1"));
}

TEST_F(ResidencyTiersTest, AttachPromotesFromTheHostTierWithoutTheVolume) {
  MakeWorld(8, 8);
  world_->AddModel("a", 7, kBytes);
  const StageSnapshot staged = StageOn("a", {"host"});
  ASSERT_EQ(0, std::remove(world_->PathOf("a").c_str()));
  // Without a device the default one is meant, which has no copy.
  EXPECT_THAT(world_->residency().Acquire("a", ""), ReasonIs(Reason::kModelNotResident, _));
  const StageSnapshot promoted = Attach("a", "");
  ASSERT_OK(promoted.status);
  EXPECT_EQ(promoted.contents[0]->device.id, "GPU-0");
  EXPECT_EQ(promoted.contents[0]->id, staged.contents[0]->id);
  EXPECT_EQ(LastReport().source, "host");
  EXPECT_TRUE(world_->Holds("a", 7, "GPU-0"));
  EXPECT_THAT(world_->CopiesOf("a"), UnorderedElementsAre("host", "GPU-0"));
}

TEST_F(ResidencyTiersTest, AttachThatDoesNotWaitStagesNothing) {
  MakeWorld(8, 8);
  world_->AddModel("a");
  EXPECT_THAT(Attach("a", "GPU-0").status, ReasonIs(Reason::kModelNotResident, _));
  EXPECT_THAT(world_->residency().List(), IsEmpty());
  EXPECT_OK(Attach("a", "GPU-0", /*wait=*/true).status);
  EXPECT_EQ(LastReport().source, kVolumeSource);
}

TEST_F(ResidencyTiersTest, WhatMakesRoomOnAGpuIsKeptInTheHostTier) {
  MakeWorld(8, 1);
  world_->AddModel("a", 1, kBytes);
  world_->AddModel("b", 2, kBytes);
  const GenerationId id = StageOn("a", {"GPU-0"}).contents[0]->id;
  ASSERT_OK(StageOn("b", {"GPU-0"}).status);
  EXPECT_THAT(world_->CopiesOf("a"), ElementsAre("host (host copy)"));
  EXPECT_EQ(world_->residency().List("a")[0].id, id);
  EXPECT_TRUE(world_->Holds("a", 1, "host"));
  // And back, the other way round.
  ASSERT_OK(Attach("a", "GPU-0").status);
  EXPECT_EQ(LastReport().source, "host");
  EXPECT_TRUE(world_->Holds("a", 1, "GPU-0"));
  EXPECT_THAT(world_->CopiesOf("b"), ElementsAre("host (host copy)"));
}

TEST_F(ResidencyTiersTest, HostTierKeepsOnlyWhatFitsBesideWhatIsHotter) {
  MakeWorld(1, 1);
  for (const char* model : {"a", "b", "h"}) world_->AddModel(model, 1, kBytes);
  ASSERT_OK(StageOn("a", {"GPU-0"}).status);
  world_->clock().Advance(absl::Seconds(1));
  ASSERT_OK(StageOn("h", {"host"}).status);  // used after "a"
  world_->clock().Advance(absl::Seconds(1));
  ASSERT_OK(StageOn("b", {"GPU-0"}).status);
  EXPECT_THAT(world_->CopiesOf("a"), IsEmpty());
  EXPECT_THAT(world_->CopiesOf("h"), ElementsAre("host"));
  // "b" was used after "h", so that "h" makes room for it.
  world_->clock().Advance(absl::Seconds(1));
  ASSERT_OK(StageOn("a", {"GPU-0"}).status);
  EXPECT_THAT(world_->CopiesOf("h"), IsEmpty());
  EXPECT_THAT(world_->CopiesOf("b"), ElementsAre("host (host copy)"));
}

TEST_F(ResidencyTiersTest, EvictFromAGpuDemotesAndEvictEverywhereKeepsNothing) {
  MakeWorld(8, 8);
  world_->AddModel("a", 1, kBytes);
  ASSERT_OK(StageOn("a", {"GPU-0", "GPU-1"}).status);
  ASSERT_OK_AND_ASSIGN(const Residency::Evicted evicted, Evict("a", "GPU-0"));
  EXPECT_EQ(evicted.bytes, kUnit);
  EXPECT_EQ(evicted.demoted_bytes, kUnit);
  EXPECT_THAT(world_->CopiesOf("a"), UnorderedElementsAre("GPU-1", "host (host copy)"));
  // The host tier has it already.
  ASSERT_OK_AND_ASSIGN(const Residency::Evicted again, Evict("a", "GPU-1"));
  EXPECT_EQ(again.demoted_bytes, 0);
  EXPECT_THAT(world_->CopiesOf("a"), ElementsAre("host (host copy)"));
  ASSERT_OK(Evict("a", ""));
  EXPECT_THAT(world_->residency().List(), IsEmpty());
}

// No stage failed: who watches for one must not be told so.
TEST_F(ResidencyTiersTest, DemotionThatFailsIsAnEventOfItsOwn) {
  MakeWorld(8, 8);
  world_->AddModel("a", 1, kBytes);
  ASSERT_OK(StageOn("a", {"GPU-0"}).status);
  host_->FailAllocate(1, absl::ResourceExhaustedError("no memory"));
  ASSERT_OK_AND_ASSIGN(const Residency::Evicted evicted, Evict("a", "GPU-0"));
  EXPECT_EQ(evicted.demoted_bytes, 0);
  EXPECT_THAT(world_->residency().List(), IsEmpty());
  world_->recorder().Await("evicted a");
  EXPECT_THAT(world_->recorder().lines(), Contains("demotion_failed a"));
  EXPECT_THAT(world_->recorder().lines(), Not(Contains("stage_failed a")));
}

TEST_F(ResidencyTiersTest, NothingIsDemotedWhereThatIsOff) {
  MakeWorld(8, 1, {.demote = false});
  world_->AddModel("a");
  world_->AddModel("b");
  ASSERT_OK(StageOn("a", {"GPU-0"}).status);
  ASSERT_OK(StageOn("b", {"GPU-0"}).status);
  EXPECT_THAT(world_->CopiesOf("a"), IsEmpty());
}

TEST_F(ResidencyTiersTest, HostCopyIsMadeWhereItFits) {
  MakeWorld(1, 8);
  world_->AddModel("a", 1, kBytes);
  world_->AddModel("b", 2, kBytes);
  ASSERT_OK(world_->Stage({.model = "a", .pin = true, .host_copy = true}).status);
  EXPECT_THAT(world_->CopiesOf("a"), UnorderedElementsAre("GPU-0", "host (host copy)"));
  EXPECT_EQ(LastReport().bytes_read(), kBytes);
  EXPECT_EQ(world_->residency().pins().size(), 1);  // the host copy is nobody's wish
  // It makes room for what is newer, and is left out where it cannot.
  world_->clock().Advance(absl::Seconds(1));
  ASSERT_OK(StageOn("b", {"host"}).status);
  EXPECT_THAT(world_->CopiesOf("a"), ElementsAre("GPU-0"));
  ASSERT_OK(world_->residency().SetPinned("b", "host", true));
  world_->AddModel("c", 3, kBytes);
  ASSERT_OK(world_->Stage({.model = "c", .host_copy = true}).status);
  EXPECT_THAT(world_->CopiesOf("c"), ElementsAre("GPU-0"));
  EXPECT_THAT(LastReport().fallbacks, Contains(HasSubstr("no host copy")));
}

TEST_F(ResidencyTiersTest, HostCopyOfAnOlderGenerationGoes) {
  MakeWorld(8, 8);
  world_->AddModel("a", 1, kBytes);
  ASSERT_OK(StageOn("a", {"GPU-0"}).status);
  ASSERT_OK(Evict("a", "GPU-0"));
  EXPECT_THAT(world_->CopiesOf("a"), ElementsAre("host (host copy)"));
  world_->AddModel("a", 2, kBytes);
  ASSERT_OK(StageOn("a", {"GPU-1"}).status);
  EXPECT_THAT(world_->CopiesOf("a"), ElementsAre("GPU-1"));
  EXPECT_TRUE(world_->Holds("a", 2, "GPU-1"));
}

TEST_F(ResidencyTiersTest, GenerationsAreNamedByTheirId) {
  MakeWorld(8, 8);
  world_->AddModel("a", 1, kBytes);
  const uint64_t first = StageOn("a", {"GPU-0"}).contents[0]->id.value();
  world_->AddModel("a", 2, kBytes);
  ASSERT_OK(StageOn("a", {"GPU-1"}).status);
  const std::string by_id = absl::StrCat("a@", first);
  EXPECT_TRUE(world_->Holds(by_id, 1, "GPU-0"));
  EXPECT_THAT(world_->residency().Acquire(by_id, "GPU-1"),
              ReasonIs(Reason::kModelNotResident, HasSubstr(by_id)));
  // It can be copied, but not over what is newer there.
  ASSERT_OK(StageOn(by_id, {"host"}).status);
  EXPECT_TRUE(world_->Holds(by_id, 1, "host"));
  EXPECT_THAT(StageOn("a@4711", {"host"}).status, ReasonIs(Reason::kModelNotResident, _));
  ASSERT_OK(Evict(by_id, ""));
  EXPECT_THAT(world_->CopiesOf("a"), ElementsAre("GPU-1"));
}

TEST_F(ResidencyTiersTest, PinsOfTheDaemonBeforeHold) {
  MakeWorld(8, 1, {.pins = {{"a", "", "GPU-0"}}});
  world_->AddModel("a");
  world_->AddModel("b");
  ASSERT_OK(StageOn("a", {"GPU-0"}).status);
  EXPECT_TRUE(world_->residency().List("a")[0].pinned);
  EXPECT_THAT(StageOn("b", {"GPU-0"}).status, ReasonIs(Reason::kBudgetExceeded, _));
  // Taken back, also where nothing is resident.
  ASSERT_OK(world_->residency().SetPinned("a", "", false));
  ASSERT_OK(Evict("a", ""));
  EXPECT_THAT(world_->residency().SetPinned("a", "", false),
              ReasonIs(Reason::kModelNotResident, _));
}

TEST_F(ResidencyTiersTest, WhatNobodyAskedForIsAsOldAsItWas) {
  MakeWorld(8, 2, {.last_uses = {{{"old", "GPU-0"}, absl::UnixEpoch()}}});
  for (const char* model : {"new", "old", "c"}) world_->AddModel(model);
  const auto preload = [&](const std::string& model) {
    const absl::Status status =
        world_->Stage({.model = model, .priority = JobPriority::kPreload}).status;
    // Its job holds it for a moment longer, and what is held is no victim.
    EXPECT_TRUE(WaitUntil([&] { return world_->residency().job_counts().running == 0; }));
    return status;
  };
  ASSERT_OK(preload("new"));
  ASSERT_OK(preload("old"));
  EXPECT_EQ(world_->residency().last_uses().at({"old", "GPU-0"}), absl::UnixEpoch());
  ASSERT_OK(StageOn("c", {"GPU-0"}).status);
  EXPECT_THAT(world_->CopiesOf("old"), ElementsAre("host (host copy)"));
  EXPECT_THAT(world_->CopiesOf("new"), ElementsAre("GPU-0"));
}

}  // namespace
}  // namespace weightd::testing
