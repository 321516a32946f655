#include "daemon/residency/residency_table.h"

#include "tests/support/common/status_matchers.h"
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

  ResidencyTable table_{{{"host", DeviceKind::kHost, 100}, {"gpu", DeviceKind::kCuda, 50}}};
  TableBooks books_;
};

TEST_F(ResidencyTableTest, AdmissionTakesBytesUntilTheyAreFreed) {
  ASSERT_OK_AND_ASSIGN(const Admission first, table_.Admit("a", "host", 60));
  EXPECT_TRUE(first.id.valid());
  EXPECT_EQ(table_.Usage()[0].used_bytes, 60);
  EXPECT_EQ(table_.Usage()[0].staging_bytes, 60);
  EXPECT_THAT(table_.Admit("b", "host", 41), ReasonIs(Reason::kBudgetExceeded, _));
  ASSERT_OK_AND_ASSIGN(const Admission rest, table_.Admit("b", "host", 40));
  EXPECT_TRUE(rest.id.valid());
  EXPECT_EQ(table_.Usage()[1].used_bytes, 0);
  table_.Fail(first.id);
  EXPECT_EQ(table_.Usage()[0].used_bytes, 100);
  table_.Freed(first.id);
  EXPECT_EQ(table_.Usage()[0].used_bytes, 40);
}

TEST_F(ResidencyTableTest, GenerationThatIsStagedIsNotResident) {
  ASSERT_OK_AND_ASSIGN(const Admission admission, table_.Admit("a", "host", 10));
  EXPECT_THAT(table_.Acquire("a", "", "", books_.now()), ReasonIs(Reason::kModelNotResident, _));
  EXPECT_THAT(table_.Evict("a", ""), ReasonIs(Reason::kModelNotResident, _));
  EXPECT_THAT(table_.SetPinned("a", "", true), ReasonIs(Reason::kModelNotResident, _));
  const auto list = table_.List();
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_EQ(list[0].state, ResidencyState::kStaging);
  EXPECT_EQ(list[0].content, nullptr);
  books_.Publish(admission.id, "a", "host");
  EXPECT_OK(table_.Acquire("a", "", "", books_.now()));
}

TEST_F(ResidencyTableTest, EvictsLeastRecentlyUsedFirst) {
  for (const char* model : {"a", "b", "c", "d"}) books_.Stage(model, "host", 25);
  books_.Lease("a");
  books_.EndLease("a");
  ASSERT_OK_AND_ASSIGN(Admission admission, table_.Admit("e", "host", 30));
  EXPECT_FALSE(admission.id.valid());
  EXPECT_THAT(books_.Free(std::move(admission.victims)), ElementsAre("b", "c"));
  EXPECT_THAT(books_.Resident(), ElementsAre("a", "d"));
  ASSERT_OK_AND_ASSIGN(admission, table_.Admit("e", "host", 30));
  EXPECT_TRUE(admission.id.valid());
}

TEST_F(ResidencyTableTest, VictimsSayWhatTheyMakeRoomFor) {
  books_.Stage("a", "gpu", 50);
  ASSERT_OK_AND_ASSIGN(Admission admission, table_.Admit("b", "gpu", 1));
  ASSERT_THAT(admission.victims, SizeIs(1));
  EXPECT_EQ(admission.victims[0].why, "room for b");
  EXPECT_EQ(admission.victims[0].info.model, "a");
  EXPECT_NE(admission.victims[0].allocation, nullptr);
  books_.Free(std::move(admission.victims));
}

TEST_F(ResidencyTableTest, LeasedAndPinnedStay) {
  books_.Stage("leased", "host", 30);
  books_.Stage("pinned", "host", 30);
  books_.Stage("free", "host", 30);
  books_.Lease("leased");
  ASSERT_OK(table_.SetPinned("pinned", "", true));
  ASSERT_OK_AND_ASSIGN(Admission admission, table_.Admit("a", "host", 40));
  EXPECT_THAT(books_.Free(std::move(admission.victims)), ElementsAre("free"));
}

TEST_F(ResidencyTableTest, RefusalEvictsNothingAndHasTheNumbers) {
  books_.Stage("leased", "host", 30);
  books_.Stage("pinned", "host", 20);
  books_.Stage("free", "host", 10);
  books_.Lease("leased");
  ASSERT_OK(table_.SetPinned("pinned", "", true));
  ASSERT_OK(table_.Admit("staging", "host", 5));
  const auto refused = table_.Admit("a", "host", 46);
  EXPECT_THAT(refused, AllOf(StatusIs(absl::StatusCode::kResourceExhausted,
                                      HasSubstr("a does not fit on host: needs 46 B, budget 100 B, "
                                                "leased 30 B, pinned 20 B, staging 5 B")),
                             ReasonIs(Reason::kBudgetExceeded, _)));
  EXPECT_THAT(GetReasonMetadata(refused.status()),
              UnorderedElementsAre(Pair("neededBytes", "46"), Pair("budgetBytes", "100"),
                                   Pair("leasedBytes", "30"), Pair("pinnedBytes", "20"),
                                   Pair("stagingBytes", "5")));
  EXPECT_THAT(books_.Resident(), ElementsAre("free", "leased", "pinned"));
}

// What is on its way back to the system is no reason to refuse, nor to evict more.
TEST_F(ResidencyTableTest, BytesBeingFreedAreWaitedFor) {
  books_.Stage("old", "host", 60);
  books_.Stage("kept", "host", 30);
  ASSERT_OK_AND_ASSIGN(std::vector<Doomed> doomed, table_.Evict("old", ""));
  ASSERT_OK_AND_ASSIGN(const Admission waits, table_.Admit("a", "host", 70));
  EXPECT_FALSE(waits.id.valid());
  EXPECT_THAT(waits.victims, IsEmpty());
  table_.AwaitFreed(waits, absl::ZeroDuration());  // nothing yet
  books_.Free(std::move(doomed));
  table_.AwaitFreed(waits, absl::InfiniteDuration());
  ASSERT_OK_AND_ASSIGN(const Admission admission, table_.Admit("a", "host", 70));
  EXPECT_TRUE(admission.id.valid());
  EXPECT_THAT(books_.Resident(), ElementsAre("kept"));
}

TEST_F(ResidencyTableTest, EvictionTakesOnlyWhatIsStillMissing) {
  books_.Stage("old", "host", 60);
  books_.Stage("kept", "host", 40);
  ASSERT_OK_AND_ASSIGN(std::vector<Doomed> doomed, table_.Evict("old", ""));
  EXPECT_THAT(table_.Admit("a", "host", 101), ReasonIs(Reason::kBudgetExceeded, _));
  ASSERT_OK_AND_ASSIGN(Admission admission, table_.Admit("a", "host", 80));
  EXPECT_THAT(books_.Free(std::move(admission.victims)), ElementsAre("kept"));
  ASSERT_OK_AND_ASSIGN(admission, table_.Admit("a", "host", 80));
  EXPECT_FALSE(admission.id.valid());
  books_.Free(std::move(doomed));
  ASSERT_OK_AND_ASSIGN(admission, table_.Admit("a", "host", 80));
  EXPECT_TRUE(admission.id.valid());
}

TEST_F(ResidencyTableTest, NewGenerationSupersedesTheOld) {
  const GenerationId old = books_.Stage("a", "host", 20);
  ASSERT_OK(table_.SetPinned("a", "", true));
  ASSERT_OK_AND_ASSIGN(const Admission admission, table_.Admit("a", "host", 20));
  std::vector<Doomed> doomed = books_.Publish(admission.id, "a", "host");
  ASSERT_THAT(doomed, SizeIs(1));
  EXPECT_EQ(doomed[0].info.id, old);
  EXPECT_EQ(doomed[0].why, "superseded");
  books_.Free(std::move(doomed));
  const auto list = table_.List("a");
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_TRUE(list[0].pinned);  // the pin is the model's
  EXPECT_EQ(list[0].id, admission.id);
}

TEST_F(ResidencyTableTest, SupersededGoesWithItsLastLease) {
  const GenerationId old = books_.Stage("a", "host", 20);
  books_.Lease("a");
  books_.Lease("a");
  const GenerationId newer = books_.Stage("a", "host", 20);
  EXPECT_EQ(table_.SupersededBy(old), newer);
  EXPECT_FALSE(table_.SupersededBy(newer).valid());
  EXPECT_EQ(table_.Usage()[0].leased_bytes, 20);
  ASSERT_OK_AND_ASSIGN(const HeldGeneration held, table_.Acquire("a", "", "", books_.now()));
  EXPECT_EQ(held.content->id, newer);
  EXPECT_THAT(table_.Release(newer, books_.now()), IsEmpty());
  EXPECT_THAT(table_.Release(old, books_.now()), IsEmpty());
  std::vector<Doomed> doomed = table_.Release(old, books_.now());
  ASSERT_THAT(doomed, SizeIs(1));
  EXPECT_EQ(doomed[0].info.id, old);
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
  EXPECT_THAT(table_.Evict("b", ""), ReasonIs(Reason::kModelNotResident, HasSubstr("b is not")));
  ASSERT_OK(table_.SetPinned("a", "gpu", true));
  EXPECT_THAT(table_.Evict("a", ""), ReasonIs(Reason::kModelBusy, HasSubstr("pinned on gpu")));
  books_.Lease("a", "host");
  EXPECT_THAT(table_.Evict("a", "host"), ReasonIs(Reason::kModelLeased, HasSubstr("by 1 lease")));
  EXPECT_THAT(books_.Resident(), ElementsAre("a", "a"));  // all or nothing
  books_.EndLease("a", "host");
  ASSERT_OK(table_.SetPinned("a", "", false));
  ASSERT_OK_AND_ASSIGN(std::vector<Doomed> doomed, table_.Evict("a", ""));
  EXPECT_THAT(doomed, SizeIs(2));
  EXPECT_THAT(table_.Evict("a", ""), ReasonIs(Reason::kModelNotResident, _));
  books_.Free(std::move(doomed));
  EXPECT_THAT(table_.List(), IsEmpty());
}

// An empty name is a client's mistake. It must not mean "any model": that would hand out another
// model's weights.
TEST_F(ResidencyTableTest, NoModelIsNotAnyModel) {
  books_.Stage("a", "host", 20);
  EXPECT_THAT(table_.Acquire("", "", "host", books_.now()), ReasonIs(Reason::kModelNotResident, _));
  EXPECT_THAT(table_.SetPinned("", "", true), ReasonIs(Reason::kModelNotResident, _));
  EXPECT_THAT(table_.Evict("", ""), ReasonIs(Reason::kModelNotResident, _));
}

TEST_F(ResidencyTableTest, AcquirePrefersTheGivenThenTheDefaultDevice) {
  books_.Stage("a", "host", 20);
  books_.Stage("a", "gpu", 20);
  const auto device = [&](const char* wanted, const char* preferred) {
    return table_.Acquire("a", wanted, preferred, books_.now())->content->device.id;
  };
  EXPECT_EQ(device("gpu", "host"), "gpu");
  EXPECT_EQ(device("", "gpu"), "gpu");
  EXPECT_EQ(device("", "elsewhere"), "host");
  EXPECT_THAT(table_.Acquire("a", "elsewhere", "host", books_.now()),
              ReasonIs(Reason::kModelNotResident, HasSubstr("on elsewhere")));
}

TEST_F(ResidencyTableTest, UseFindsOnlyWhatIsUnchanged) {
  const GenerationId id = books_.Stage("a", "host", 20, {{.inode = 7}});
  books_.Stage("b", "host", 20);
  const auto use = [&](const std::vector<FileIdentity>& identities, bool pin) {
    return table_.Use("a", "host", identities, pin, books_.now());
  };
  EXPECT_EQ(use({{.inode = 8}}, true), nullptr);
  EXPECT_EQ(use({}, true), nullptr);
  EXPECT_EQ(table_.Use("a", "gpu", {{.inode = 7}}, true, books_.now()), nullptr);
  EXPECT_FALSE(table_.List("a")[0].pinned);
  ASSERT_NE(use({{.inode = 7}}, false), nullptr);
  EXPECT_EQ(use({{.inode = 7}}, false)->id, id);
  // It was used last, so the other one goes.
  ASSERT_OK_AND_ASSIGN(Admission admission, table_.Admit("c", "host", 70));
  EXPECT_THAT(books_.Free(std::move(admission.victims)), ElementsAre("b"));
  EXPECT_NE(use({{.inode = 7}}, true), nullptr);
  EXPECT_TRUE(table_.List("a")[0].pinned);
}

TEST_F(ResidencyTableTest, EvictAllTakesPinnedAndLeavesLeased) {
  books_.Stage("a", "host", 20);
  books_.Stage("b", "host", 20);
  books_.Lease("a");
  ASSERT_OK(table_.SetPinned("b", "", true));
  EXPECT_THAT(books_.Free(table_.EvictAll()), ElementsAre("b"));
  EXPECT_THAT(books_.Resident(), ElementsAre("a"));
}

TEST_F(ResidencyTableTest, ListIsSortedByModelThenAge) {
  books_.Stage("b", "host", 10);
  books_.Stage("a", "gpu", 10);
  books_.Stage("a", "host", 10);
  std::vector<std::string> lines;
  for (const GenerationInfo& info : table_.List()) lines.push_back(info.model + " " + info.device);
  EXPECT_THAT(lines, ElementsAre("a gpu", "a host", "b host"));
  EXPECT_EQ(table_.List()[0].device_kind, DeviceKind::kCuda);
}

using ResidencyTableDeathTest = ResidencyTableTest;

TEST_F(ResidencyTableDeathTest, OurOwnMistakesEndTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const GenerationId id = books_.Stage("a", "host", 10);
  EXPECT_DEATH(table_.Release(id, books_.now()), "lease_count > 0");
  EXPECT_DEATH(table_.Freed(id), "CanMove");
  EXPECT_DEATH(table_.Fail(GenerationId(4711)), "records_.end");
}

}  // namespace
}  // namespace weightd::testing
