// Staging with real threads and files: what a caller of Residency sees.

#include <filesystem>

#include "absl/synchronization/notification.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/device/memory_device.h"
#include "tests/unit/residency/residency_world.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(ResidencyStageTest, BringsAModelIntoMemory) {
  for (const ReadEngine engine : {ReadEngine::kPread, ReadEngine::kAuto}) {
    ResidencyWorld world({.engine = engine});
    world.AddModel("a", 3, 5'000'000);
    const StageSnapshot snapshot = world.StageModel("a");
    ASSERT_EQ(snapshot.phase, StagePhase::kDone) << snapshot.status;
    EXPECT_FALSE(snapshot.already_resident);
    EXPECT_EQ(snapshot.bytes_done, 5'000'000);
    EXPECT_EQ(snapshot.bytes_total, 5'000'000);
    const CopyContent& content = *snapshot.contents[0];
    EXPECT_EQ(content.model, "a");
    EXPECT_EQ(content.device.id, world.device_id());
    EXPECT_EQ(content.tensor_bytes, 5'000'000);
    EXPECT_EQ(content.allocated_bytes, 3 * kUnit);
    EXPECT_EQ(content.report.bytes_read(), 5'000'000);
    EXPECT_EQ(world.used_bytes(), 3 * kUnit);
    EXPECT_TRUE(world.Holds("a", 3));
    EXPECT_THAT(world.recorder().lines(), ElementsAre("stage_started a", "stage_done a"));
  }
}

TEST(ResidencyStageTest, CopiesToADeviceThroughStagingBuffers) {
  const auto device = std::make_shared<MemoryDevice>();
  {
    ResidencyWorld world({.device = device});
    world.AddModel("a", 3, 9'000'000);
    ASSERT_OK(world.StageModel("a").status);
    EXPECT_TRUE(world.Holds("a", 3));
    EXPECT_EQ(device->used_bytes(), world.used_bytes());
  }
  EXPECT_EQ(device->allocation_count(), 0);
  EXPECT_THAT(device->violations(), IsEmpty());
}

TEST(ResidencyStageTest, UnchangedModelIsNotReadAgain) {
  ResidencyWorld world;
  world.AddModel("a");
  const StageSnapshot first = world.StageModel("a");
  const StageSnapshot second = world.StageModel("a");
  EXPECT_EQ(second.phase, StagePhase::kDone);
  EXPECT_TRUE(second.already_resident);
  EXPECT_EQ(second.contents, first.contents);
  EXPECT_NE(second.job, first.job);
}

TEST(ResidencyStageTest, ChangedFileIsANewGeneration) {
  ResidencyWorld world;
  world.AddModel("a", 1);
  const StageSnapshot first = world.StageModel("a");
  world.AddModel("a", 2);
  const StageSnapshot second = world.StageModel("a");
  EXPECT_FALSE(second.already_resident);
  EXPECT_GT(second.contents[0]->id, first.contents[0]->id);
  EXPECT_TRUE(world.Holds("a", 2));
  world.recorder().Await("evicted a");
  EXPECT_EQ(world.used_bytes(), kUnit);
}

TEST(ResidencyStageTest, RestageReadsAnUnchangedModel) {
  ResidencyWorld world;
  world.AddModel("a");
  const StageSnapshot first = world.StageModel("a");
  const StageSnapshot second = world.Stage({.model = "a", .restage = true});
  EXPECT_FALSE(second.already_resident);
  EXPECT_GT(second.contents[0]->id, first.contents[0]->id);
}

// A lease keeps the old generation; both are in the budget until it ends.
TEST(ResidencyStageTest, RestageOfALeasedAndPinnedModelKeepsBoth) {
  ResidencyWorld world({.budget_bytes = 2 * kUnit});
  world.AddModel("a");
  ASSERT_OK(world.Stage({.model = "a", .pin = true}).status);
  ASSERT_OK_AND_ASSIGN(HeldCopy held, world.residency().Acquire("a", ""));
  ASSERT_OK(world.Stage({.model = "a", .restage = true}).status);
  EXPECT_EQ(world.used_bytes(), 2 * kUnit);
  const auto list = world.residency().List("a");
  ASSERT_THAT(list, SizeIs(2));
  EXPECT_TRUE(list[0].superseded);
  EXPECT_FALSE(list[0].pinned);
  EXPECT_TRUE(list[1].pinned);

  // Now nothing may go: one is leased, the other pinned.
  EXPECT_THAT(world.Stage({.model = "a", .restage = true}).status,
              ReasonIs(Reason::kBudgetExceeded, _));
  held.allocation.reset();
  world.residency().Release(held.content->copy);
  world.recorder().Await("evicted a");
  EXPECT_EQ(world.used_bytes(), kUnit);
  EXPECT_TRUE(world.Holds("a", 1));
}

TEST(ResidencyStageTest, EvictsTheLeastRecentlyUsedForRoom) {
  ResidencyWorld world({.budget_bytes = 2 * kUnit});
  for (const char* model : {"a", "b", "c"}) world.AddModel(model);
  for (const char* model : {"a", "b"}) {
    ASSERT_OK(world.StageModel(model).status);
    world.clock().Advance(absl::Seconds(1));
  }
  // To ask for a model is to use it, although nothing has to be read.
  EXPECT_TRUE(world.StageModel("a").already_resident);
  ASSERT_OK(world.StageModel("c").status);
  EXPECT_THAT(world.ResidentModels(), ElementsAre("a", "c"));
}

// Whoever holds a model uses it to the end of the lease, not at its beginning only.
TEST(ResidencyStageTest, EndOfALeaseIsAUse) {
  ResidencyWorld world({.budget_bytes = 2 * kUnit});
  for (const char* model : {"a", "b", "c"}) world.AddModel(model);
  ASSERT_OK(world.StageModel("a").status);
  ASSERT_OK_AND_ASSIGN(HeldCopy held, world.residency().Acquire("a", ""));
  world.clock().Advance(absl::Hours(1));
  ASSERT_OK(world.StageModel("b").status);
  world.clock().Advance(absl::Hours(1));
  held.allocation.reset();
  world.residency().Release(held.content->copy);
  ASSERT_OK(world.StageModel("c").status);
  EXPECT_THAT(world.ResidentModels(), ElementsAre("a", "c"));
}

TEST(ResidencyStageTest, PinsWhenAsked) {
  ResidencyWorld world;
  world.AddModel("a");
  world.AddModel("b");
  ASSERT_OK(world.Stage({.model = "a", .pin = true}).status);
  EXPECT_TRUE(world.residency().List("a").front().pinned);
  world.recorder().Await("pinned a");
  // Also what is resident already.
  ASSERT_OK(world.StageModel("b").status);
  ASSERT_TRUE(world.Stage({.model = "b", .pin = true}).already_resident);
  EXPECT_TRUE(world.residency().List("b").front().pinned);
  world.recorder().Await("pinned b");
}

TEST(ResidencyStageTest, RefusesWithNumbersWhatDoesNotFit) {
  ResidencyWorld world({.budget_bytes = 2 * kUnit});
  world.AddModel("big", 1, 5'000'000);
  const StageSnapshot snapshot = world.StageModel("big");
  EXPECT_EQ(snapshot.phase, StagePhase::kFailed);
  EXPECT_THAT(snapshot.status, AllOf(StatusIs(absl::StatusCode::kResourceExhausted,
                                              HasSubstr("stage big: big does not fit on host")),
                                     ReasonIs(Reason::kBudgetExceeded, _)));
  EXPECT_THAT(GetReasonMetadata(snapshot.status),
              Contains(std::make_pair("neededBytes", std::to_string(3 * kUnit))));
  EXPECT_EQ(world.used_bytes(), 0);
  EXPECT_THAT(world.recorder().lines(), Contains("stage_refused big"));
}

TEST(ResidencyStageTest, RefusesWhatCannotBeStaged) {
  ResidencyWorld world;
  EXPECT_THAT(world.residency().Stage({.model = "../a"}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(world.residency().Stage({.model = "a", .devices = {"GPU-none"}}),
              ReasonIs(Reason::kDeviceNotFound, HasSubstr("there are host")));
  EXPECT_THAT(world.StageModel("nothing").status, ReasonIs(Reason::kModelNotFound, _));
  EXPECT_EQ(world.used_bytes(), 0);
}

TEST(ResidencyStageTest, DeviceWithoutMemoryFailsTheJobAlone) {
  const auto device = std::make_shared<MemoryDevice>();
  ResidencyWorld world({.device = device});
  world.AddModel("a");
  device->FailAllocate(1, absl::ResourceExhaustedError("no memory"));
  EXPECT_THAT(world.StageModel("a").status,
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("no memory")));
  EXPECT_EQ(world.used_bytes(), 0);
  device->FailCopy(1, absl::InternalError("the GPU is gone"));
  EXPECT_THAT(world.StageModel("a").status, StatusIs(absl::StatusCode::kInternal, _));
  EXPECT_EQ(world.used_bytes(), 0);
  EXPECT_EQ(device->used_bytes(), 0);
  EXPECT_OK(world.StageModel("a").status);
}

class ChangingFileTest : public ::testing::Test {
 protected:
  // Stages "a" and calls `change` when its headers have been read and nothing else.
  StageSnapshot StageWith(const std::function<void()>& change) {
    world_.clock().StopCall(kCallBeforeReading);
    const StageTicket ticket = world_.Start({.model = "a"});
    world_.clock().AwaitStopped();
    change();
    world_.clock().Open();
    return AwaitEnd(*ticket.job);
  }
  void ExpectNothingLeft() {
    EXPECT_EQ(world_.used_bytes(), 0);
    EXPECT_THAT(world_.residency().List(), IsEmpty());
    EXPECT_THAT(world_.recorder().lines(), Contains("stage_failed a"));
  }
  ResidencyWorld world_;
};

TEST_F(ChangingFileTest, TruncatedFileFailsTheJob) {
  world_.AddModel("a", 1, 3'000'000);
  const StageSnapshot snapshot =
      StageWith([&] { std::filesystem::resize_file(world_.PathOf("a"), 1'000'000); });
  EXPECT_THAT(snapshot.status, ReasonIs(Reason::kCheckpointChanged, HasSubstr("a.safetensors")));
  ExpectNothingLeft();
}

TEST_F(ChangingFileTest, FileWrittenWhileReadFailsTheJob) {
  world_.AddModel("a", 1);
  const StageSnapshot snapshot = StageWith([&] { world_.AddModel("a", 2); });
  EXPECT_THAT(snapshot.status, AllOf(StatusIs(absl::StatusCode::kAborted, _),
                                     ReasonIs(Reason::kCheckpointChanged, _)));
  ExpectNothingLeft();
}

TEST_F(ChangingFileTest, FileThatIsGoneFailsTheJob) {
  world_.AddModel("a", 1);
  const StageSnapshot snapshot = StageWith([&] { std::filesystem::remove(world_.PathOf("a")); });
  EXPECT_THAT(snapshot.status, ReasonIs(Reason::kCheckpointChanged, _));
  ExpectNothingLeft();
}

TEST(ResidencyStageTest, BytesBeingGivenBackAreWaitedFor) {
  ResidencyWorld world({.budget_bytes = 2 * kUnit});
  world.AddModel("a", 1);
  world.AddModel("b", 2);
  ASSERT_OK(world.StageModel("a").status);
  for (uint64_t seed = 3; seed < 20; ++seed) {
    ASSERT_OK_AND_ASSIGN(HeldCopy held, world.residency().Acquire("a", ""));
    ASSERT_OK(world.Stage({.model = "a", .restage = true}).status);
    held.allocation.reset();
    world.residency().Release(held.content->copy);  // the reaper frees it, some time
    ASSERT_OK(world.residency().SetPinned("a", "", true));
    ASSERT_OK(world.StageModel("b").status);
    ASSERT_OK(world.residency().SetPinned("a", "", false));
    ASSERT_OK(world.residency().Evict("b", "", false));
  }
}

}  // namespace
}  // namespace weightd::testing
