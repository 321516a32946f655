#include "daemon/residency/residency_table.h"

#include "tests/support/common/status_matchers.h"
#include "tests/support/executor/simulated_executor.h"
#include "tests/unit/residency/table_books.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class ResidencyTableTest : public ::testing::Test {
 protected:
  ResidencyTableTest() : books_(table_) {}

  SimulatedExecutor executor_{[](uint64_t) { return 0; }};
  ResidencyTable table_{
      {.budgets = {{"host", DeviceKind::kHost, 100}, {"gpu", DeviceKind::kCuda, 50}}}, executor_};
  TableBooks books_;
};

TEST_F(ResidencyTableTest, AdmissionTakesBytesUntilTheyAreFreed) {
  ASSERT_OK_AND_ASSIGN(const Admission first, books_.Admit("a", "host", 60));
  EXPECT_TRUE(first.admitted);
  EXPECT_EQ(table_.Usage()[0].used_bytes, 60);
  EXPECT_EQ(table_.Usage()[0].staging_bytes, 60);
  EXPECT_THAT(books_.Admit("b", "host", 41), ReasonIs(Reason::kBudgetExceeded, _));
  ASSERT_OK_AND_ASSIGN(const Admission rest, books_.Admit("b", "host", 40));
  EXPECT_TRUE(rest.admitted);
  EXPECT_EQ(table_.Usage()[1].used_bytes, 0);
  table_.Fail(first.copies[0]);
  EXPECT_EQ(table_.Usage()[0].used_bytes, 100);
  table_.Freed(first.copies[0]);
  EXPECT_EQ(table_.Usage()[0].used_bytes, 40);
}

TEST_F(ResidencyTableTest, GenerationThatIsStagedIsNotResident) {
  ASSERT_OK_AND_ASSIGN(const Admission admission, books_.Admit("a", "host", 10));
  EXPECT_THAT(table_.Acquire({.model = "a"}, "", books_.now()),
              ReasonIs(Reason::kModelNotResident, _));
  EXPECT_THAT(table_.Evict({.model = "a"}, "", false), ReasonIs(Reason::kModelNotResident, _));
  EXPECT_THAT(table_.SetPinned({.model = "a"}, "", true), ReasonIs(Reason::kModelNotResident, _));
  const auto list = table_.List();
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_EQ(list[0].state, ResidencyState::kStaging);
  EXPECT_EQ(list[0].content, nullptr);
  books_.Publish(admission, "a", "host");
  EXPECT_OK(table_.Acquire({.model = "a"}, "", books_.now()));
}

TEST_F(ResidencyTableTest, GenerationThatIsGoneIsNotSaidToBeStageable) {
  EXPECT_THAT(table_.Acquire({.model = "a"}, "", books_.now()),
              ReasonIs(Reason::kModelNotResident, HasSubstr("stage it first")));
  EXPECT_THAT(table_.Acquire({.model = "a", .generation = 7}, "", books_.now()),
              ReasonIs(Reason::kModelNotResident, HasSubstr("a@7 is not resident; a generation")));
}

TEST_F(ResidencyTableTest, EvictsLeastRecentlyUsedFirst) {
  for (const char* model : {"a", "b", "c", "d"}) books_.Stage(model, "host", 25);
  books_.Lease("a");
  books_.EndLease("a");
  ASSERT_OK_AND_ASSIGN(Admission admission, books_.Admit("e", "host", 30));
  EXPECT_FALSE(admission.admitted);
  EXPECT_THAT(books_.Free(std::move(admission.victims)), ElementsAre("b", "c"));
  EXPECT_THAT(books_.Resident(), ElementsAre("a", "d"));
  ASSERT_OK_AND_ASSIGN(admission, books_.Admit("e", "host", 30));
  EXPECT_TRUE(admission.admitted);
}

TEST_F(ResidencyTableTest, VictimsSayWhatTheyMakeRoomFor) {
  books_.Stage("a", "gpu", 50);
  ASSERT_OK_AND_ASSIGN(Admission admission, books_.Admit("b", "gpu", 1));
  ASSERT_THAT(admission.victims, SizeIs(1));
  EXPECT_EQ(admission.victims[0].why, "room for b");
  EXPECT_EQ(admission.victims[0].reason, EvictReason::kRoom);
  EXPECT_EQ(admission.victims[0].info.model, "a");
  EXPECT_NE(admission.victims[0].allocation, nullptr);
  books_.Free(std::move(admission.victims));
}

// Each copy in host memory is a descriptor: also small ones make room.
TEST_F(ResidencyTableTest, CopiesHaveALimit) {
  ResidencyTable table({.budgets = {{.device = "host", .bytes = 100, .copies_max = 2}}}, executor_);
  TableBooks books(table);
  for (const char* model : {"a", "b"}) books.Stage(model, "host", 1);
  ASSERT_OK_AND_ASSIGN(Admission admission, books.Admit("c", "host", 1));
  EXPECT_FALSE(admission.admitted);
  EXPECT_THAT(books.Free(std::move(admission.victims)), ElementsAre("a"));
  books.Stage("c", "host", 1);
  books.Lease("b");
  books.Lease("c");
  EXPECT_THAT(books.Admit("d", "host", 1),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("has 2 copies of models")));
  books.EndLease("b");
  books.EndLease("c");
  books.Free(table.EvictAll());
}

TEST_F(ResidencyTableTest, LeasedAndPinnedStay) {
  books_.Stage("leased", "host", 30);
  books_.Stage("pinned", "host", 30);
  books_.Stage("free", "host", 30);
  books_.Lease("leased");
  ASSERT_OK(table_.SetPinned({.model = "pinned"}, "", true));
  ASSERT_OK_AND_ASSIGN(Admission admission, books_.Admit("a", "host", 40));
  EXPECT_THAT(books_.Free(std::move(admission.victims)), ElementsAre("free"));
}

// A job that has told its end lets go of its copies a moment later: what comes next is not refused
// for that.
TEST_F(ResidencyTableTest, WhatTheDaemonHoldsForAMomentIsWaitedFor) {
  books_.Stage("a", "host", 80);
  ASSERT_OK_AND_ASSIGN(HeldCopy held, table_.HoldAny({.model = "a"}));
  StageClaim claim = TableBooks::Claim("b", "host", 50);
  EXPECT_THAT(table_.Admit(claim), ReasonIs(Reason::kBudgetExceeded, _));
  claim.waits_for_holds = true;
  ASSERT_OK_AND_ASSIGN(Admission admission, table_.Admit(claim));
  EXPECT_FALSE(admission.admitted);
  EXPECT_THAT(admission.victims, IsEmpty());
  held.allocation.reset();
  EXPECT_THAT(table_.Unhold(held.content->copy), IsEmpty());
  table_.AwaitChange(admission);  // at once
  ASSERT_OK_AND_ASSIGN(admission, table_.Admit(claim));
  EXPECT_THAT(books_.Free(std::move(admission.victims)), ElementsAre("a"));
  // What a client has is not waited for.
  books_.Stage("c", "host", 80);
  books_.Lease("c");
  EXPECT_THAT(table_.Admit(claim), ReasonIs(Reason::kBudgetExceeded, _));
}

TEST_F(ResidencyTableTest, RefusalEvictsNothingAndHasTheNumbers) {
  books_.Stage("leased", "host", 30);
  books_.Stage("pinned", "host", 20);
  books_.Stage("free", "host", 10);
  books_.Lease("leased");
  ASSERT_OK(table_.SetPinned({.model = "pinned"}, "", true));
  ASSERT_OK(books_.Admit("staging", "host", 5));
  const auto refused = books_.Admit("a", "host", 46);
  EXPECT_THAT(refused, AllOf(StatusIs(absl::StatusCode::kResourceExhausted,
                                      HasSubstr("a does not fit on host: needs 46 B, budget 100 B, "
                                                "leased 30 B, pinned 20 B, staging 5 B")),
                             ReasonIs(Reason::kBudgetExceeded, _)));
  EXPECT_THAT(GetReasonMetadata(refused.status()),
              UnorderedElementsAre(Pair("device", "host"), Pair("neededBytes", "46"),
                                   Pair("budgetBytes", "100"), Pair("leasedBytes", "30"),
                                   Pair("pinnedBytes", "20"), Pair("stagingBytes", "5"),
                                   Pair("stuckBytes", "0")));
  EXPECT_THAT(books_.Resident(), ElementsAre("free", "leased", "pinned"));
}

// What is on its way back to the system is no reason to refuse, nor to evict more.
TEST_F(ResidencyTableTest, BytesBeingFreedAreWaitedFor) {
  books_.Stage("old", "host", 60);
  books_.Stage("kept", "host", 30);
  ASSERT_OK_AND_ASSIGN(EvictPlan plan, table_.Evict({.model = "old"}, "", false));
  ASSERT_OK_AND_ASSIGN(const Admission waits, books_.Admit("a", "host", 70));
  EXPECT_FALSE(waits.admitted);
  EXPECT_THAT(waits.victims, IsEmpty());
  const absl::Time start = executor_.SteadyNow();
  table_.AwaitChange(waits);  // nothing yet
  EXPECT_EQ(executor_.SteadyNow() - start, absl::Milliseconds(100));
  books_.Free(std::move(plan.doomed));
  table_.AwaitChange(waits);
  EXPECT_EQ(executor_.SteadyNow() - start, absl::Milliseconds(100));
  ASSERT_OK_AND_ASSIGN(const Admission admission, books_.Admit("a", "host", 70));
  EXPECT_TRUE(admission.admitted);
  EXPECT_THAT(books_.Resident(), ElementsAre("kept"));
}

TEST_F(ResidencyTableTest, EvictionTakesOnlyWhatIsStillMissing) {
  books_.Stage("old", "host", 60);
  books_.Stage("kept", "host", 40);
  ASSERT_OK_AND_ASSIGN(EvictPlan plan, table_.Evict({.model = "old"}, "", false));
  EXPECT_THAT(books_.Admit("a", "host", 101), ReasonIs(Reason::kBudgetExceeded, _));
  ASSERT_OK_AND_ASSIGN(Admission admission, books_.Admit("a", "host", 80));
  EXPECT_THAT(books_.Free(std::move(admission.victims)), ElementsAre("kept"));
  ASSERT_OK_AND_ASSIGN(admission, books_.Admit("a", "host", 80));
  EXPECT_FALSE(admission.admitted);
  books_.Free(std::move(plan.doomed));
  ASSERT_OK_AND_ASSIGN(admission, books_.Admit("a", "host", 80));
  EXPECT_TRUE(admission.admitted);
}

TEST_F(ResidencyTableTest, NewGenerationSupersedesTheOld) {
  const CopyId old = books_.Stage("a", "host", 20);
  ASSERT_OK(table_.SetPinned({.model = "a"}, "", true));
  ASSERT_OK_AND_ASSIGN(const Admission admission, books_.Admit("a", "host", 20));
  std::vector<Doomed> doomed = books_.Publish(admission, "a", "host");
  ASSERT_THAT(doomed, SizeIs(1));
  EXPECT_EQ(doomed[0].info.copy, old);
  EXPECT_EQ(doomed[0].why, "superseded");
  EXPECT_EQ(doomed[0].reason, EvictReason::kSuperseded);
  books_.Free(std::move(doomed));
  const auto list = table_.List("a");
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_TRUE(list[0].pinned);  // the pin is the model's
  EXPECT_EQ(list[0].id, admission.generation);
}

TEST_F(ResidencyTableTest, SupersededGoesWithItsLastLease) {
  const CopyId old = books_.Stage("a", "host", 20);
  books_.Lease("a");
  books_.Lease("a");
  const CopyId newer = books_.Stage("a", "host", 20);
  EXPECT_EQ(table_.InfoOf(old).superseded_by, table_.List("a").back().id);
  EXPECT_FALSE(table_.InfoOf(newer).superseded);
  EXPECT_EQ(table_.Usage()[0].leased_bytes, 20);
  ASSERT_OK_AND_ASSIGN(const HeldCopy held, table_.Acquire({.model = "a"}, "", books_.now()));
  EXPECT_EQ(held.content->copy, newer);
  EXPECT_THAT(table_.Release(newer, books_.now()), IsEmpty());
  EXPECT_THAT(table_.Release(old, books_.now()), IsEmpty());
  std::vector<Doomed> doomed = table_.Release(old, books_.now());
  ASSERT_THAT(doomed, SizeIs(1));
  EXPECT_EQ(doomed[0].info.copy, old);
  EXPECT_EQ(table_.Usage()[0].used_bytes, 40);
  books_.Free(std::move(doomed));
  EXPECT_EQ(table_.Usage()[0].used_bytes, 20);
}

TEST_F(ResidencyTableTest, GenerationsOfOtherDevicesAreNotSuperseded) {
  books_.Stage("a", "host", 20);
  books_.Stage("a", "gpu", 20);
  EXPECT_THAT(table_.List("a"), SizeIs(2));
  EXPECT_THAT(books_.Resident(), ElementsAre("a", "a"));
}

TEST_F(ResidencyTableTest, EvictRefusesWhatIsHeld) {
  books_.Stage("a", "host", 20);
  books_.Stage("a", "gpu", 20);
  EXPECT_THAT(table_.Evict({.model = "b"}, "", false),
              ReasonIs(Reason::kModelNotResident, HasSubstr("b is not")));
  ASSERT_OK(table_.SetPinned({.model = "a"}, "gpu", true));
  EXPECT_THAT(table_.Evict({.model = "a"}, "", false),
              ReasonIs(Reason::kModelBusy, HasSubstr("pinned on gpu")));
  books_.Lease("a", "host");
  EXPECT_THAT(table_.Evict({.model = "a"}, "host", false),
              ReasonIs(Reason::kModelLeased, HasSubstr("by 1 lease")));
  EXPECT_THAT(books_.Resident(), ElementsAre("a", "a"));  // all or nothing
  books_.EndLease("a", "host");
  ASSERT_OK(table_.SetPinned({.model = "a"}, "", false));
  ASSERT_OK_AND_ASSIGN(EvictPlan plan, table_.Evict({.model = "a"}, "", false));
  EXPECT_THAT(plan.doomed, SizeIs(2));
  EXPECT_THAT(table_.Evict({.model = "a"}, "", false), ReasonIs(Reason::kModelNotResident, _));
  books_.Free(std::move(plan.doomed));
  EXPECT_THAT(table_.List(), IsEmpty());
}

// An empty name is a client's mistake. It must not mean "any model": that would hand out another
// model's weights.
TEST_F(ResidencyTableTest, NoModelIsNotAnyModel) {
  books_.Stage("a", "host", 20);
  EXPECT_THAT(table_.Acquire({.model = ""}, "", books_.now()),
              ReasonIs(Reason::kModelNotResident, _));
  EXPECT_THAT(table_.SetPinned({.model = ""}, "", true), ReasonIs(Reason::kModelNotResident, _));
  EXPECT_THAT(table_.Evict({.model = ""}, "", false), ReasonIs(Reason::kModelNotResident, _));
}

TEST_F(ResidencyTableTest, AcquireTakesTheGivenDeviceOrTheNewestGeneration) {
  books_.Stage("a", "host", 20);
  books_.Stage("a", "gpu", 20);
  const auto device = [&](const char* wanted) {
    return table_.Acquire({.model = "a"}, wanted, books_.now())->content->device.id;
  };
  EXPECT_EQ(device("host"), "host");
  EXPECT_EQ(device("gpu"), "gpu");
  EXPECT_EQ(device(""), "gpu");
  EXPECT_THAT(table_.Acquire({.model = "a"}, "elsewhere", books_.now()),
              ReasonIs(Reason::kModelNotResident, HasSubstr("on elsewhere")));
}

TEST_F(ResidencyTableTest, UseFindsOnlyWhatIsUnchanged) {
  const CopyId id = books_.Stage("a", "host", 20, {{.inode = 7}});
  books_.Stage("b", "host", 20);
  const auto use = [&](const std::string& device, std::vector<FileIdentity> identities, bool pin) {
    const UseResult used = table_.Use({.model = "a",
                                       .asked_revision = "",
                                       .device = device,
                                       .identities = std::move(identities),
                                       .pin = pin},
                                      books_.now());
    if (used.content != nullptr) (void)books_.Free(table_.Unhold(used.content->copy));
    return used.content;
  };
  EXPECT_EQ(use("host", {{.inode = 8}}, true), nullptr);
  EXPECT_EQ(use("host", {}, true), nullptr);
  EXPECT_EQ(use("gpu", {{.inode = 7}}, true), nullptr);
  EXPECT_FALSE(table_.List("a")[0].pinned);
  ASSERT_NE(use("host", {{.inode = 7}}, false), nullptr);
  EXPECT_EQ(use("host", {{.inode = 7}}, false)->copy, id);
  // It was used last, so the other one goes.
  ASSERT_OK_AND_ASSIGN(Admission admission, books_.Admit("c", "host", 70));
  EXPECT_THAT(books_.Free(std::move(admission.victims)), ElementsAre("b"));
  EXPECT_NE(use("host", {{.inode = 7}}, true), nullptr);
  EXPECT_TRUE(table_.List("a")[0].pinned);
}

TEST_F(ResidencyTableTest, EvictAllTakesPinnedAndLeavesLeased) {
  books_.Stage("a", "host", 20);
  books_.Stage("b", "host", 20);
  books_.Lease("a");
  ASSERT_OK(table_.SetPinned({.model = "b"}, "", true));
  EXPECT_THAT(books_.Free(table_.EvictAll()), ElementsAre("b"));
  EXPECT_THAT(books_.Resident(), ElementsAre("a"));
}

TEST_F(ResidencyTableTest, ListIsSortedByModelThenAge) {
  books_.Stage("b", "host", 10);
  books_.Stage("a", "gpu", 10);
  books_.Stage("a", "host", 10);
  std::vector<std::string> lines;
  for (const CopyInfo& info : table_.List()) lines.push_back(info.model + " " + info.device);
  EXPECT_THAT(lines, ElementsAre("a gpu", "a host", "b host"));
  EXPECT_EQ(table_.List()[0].device_kind, DeviceKind::kCuda);
}

using ResidencyTableDeathTest = ResidencyTableTest;

TEST_F(ResidencyTableDeathTest, OurOwnMistakesEndTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const CopyId id = books_.Stage("a", "host", 10);
  EXPECT_DEATH(table_.Release(id, books_.now()), "lease_count > 0");
  EXPECT_DEATH(table_.Freed(id), "CanMove");
  EXPECT_DEATH(table_.Fail(CopyId(4711)), "records_.end");
}

}  // namespace
}  // namespace weightd::testing
