// One copy serves `model` and `model@revision` where both mean the same files: a pin of the one
// must not be lost by the other.

#include "tests/support/common/status_matchers.h"
#include "tests/unit/residency/table_books.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class TablePinsTest : public ::testing::Test {
 protected:
  // A copy of the files with `inode`, of `m@revision`.
  CopyId Stage(const std::string& revision, uint64_t inode, bool pin = false) {
    StageClaim claim = TableBooks::Claim("m", "host", 10);
    claim.asked_revision = revision;
    const Admission admission = *table_.Admit(claim);
    (void)books_.Free(books_.Publish(admission, "m", "host", {{.inode = inode}}, pin));
    return admission.copies.front();
  }
  void Use(const std::string& revision, uint64_t inode, bool pin = false) {
    UseResult used = table_.Use({.model = "m",
                                 .asked_revision = revision,
                                 .device = "host",
                                 .identities = {{.inode = inode}},
                                 .pin = pin},
                                books_.now());
    ASSERT_NE(used.content, nullptr);
    (void)books_.Free(std::move(used.published.doomed));
    (void)books_.Free(table_.Unhold(used.content->copy));
  }
  CopyInfo InfoOf(CopyId id) const {
    for (const CopyInfo& info : table_.List()) {
      if (info.copy == id) return info;
    }
    return {};
  }

  ResidencyTable table_{{.budgets = {{"host", DeviceKind::kHost, 100}}}, ThreadExecutor::Get()};
  TableBooks books_{table_};
};

TEST_F(TablePinsTest, CopyOfAPinnedRevisionStaysPinnedWhenItBeginsToFollowTheVolume) {
  const CopyId id = Stage("dev", 1, /*pin=*/true);
  Use("", 1);
  EXPECT_TRUE(InfoOf(id).pinned);
  EXPECT_OK(table_.Acquire({.model = "m", .revision = "dev"}, "host", books_.now()));
}

TEST_F(TablePinsTest, PinOfARevisionIsNotAPinOfWhateverTheVolumeHasNext) {
  const CopyId id = Stage("", 1);
  Use("dev", 1, /*pin=*/true);
  EXPECT_THAT(table_.pins(), ElementsAre(Field(&Pin::asked_revision, "dev")));
  EXPECT_TRUE(InfoOf(id).pinned);
  EXPECT_FALSE(InfoOf(Stage("", 2)).pinned);
}

TEST_F(TablePinsTest, NewerGenerationDoesNotReplaceAPinnedRevision) {
  const CopyId id = Stage("dev", 1, /*pin=*/true);
  Use("", 1);
  const CopyId newer = Stage("", 2);
  EXPECT_TRUE(InfoOf(id).pinned);
  EXPECT_FALSE(InfoOf(id).superseded);
  EXPECT_EQ(InfoOf(id).asked_revision, "dev");
  EXPECT_EQ(InfoOf(newer).asked_revision, "");
}

// Who holds it as the model is told all the same.
TEST_F(TablePinsTest, HoldersOfAPinnedRevisionHearOfTheNewerGeneration) {
  const CopyId id = Stage("dev", 1, /*pin=*/true);
  Use("", 1);
  books_.Lease("m", "host");
  const Admission admission = *books_.Admit("m", "host", 10);
  const CopyId newer = admission.copies.front();
  const PublishResult result =
      table_.Publish({{.id = newer,
                       .content = TableBooks::Content(admission, 0, "m", "host", {{.inode = 2}}),
                       .allocation = std::make_shared<EmptyAllocation>()}},
                     false, books_.now());
  EXPECT_THAT(result.doomed, IsEmpty());
  ASSERT_THAT(result.superseded, SizeIs(1));
  EXPECT_EQ(result.superseded[0].copy, id);
  EXPECT_EQ(result.superseded[0].superseded_by, admission.generation);
  (void)books_.Free(table_.Unhold(newer));
  books_.EndLease("m", "host");
  EXPECT_TRUE(InfoOf(id).pinned);
}

// Whatever others have asked for meanwhile, by which one copy has both names.
TEST_F(TablePinsTest, UnpinTakesThePinOfItsNameAlone) {
  const CopyId id = Stage("dev", 1, /*pin=*/true);
  Use("", 1);
  EXPECT_THAT(table_.SetPinned({.model = "m"}, "", false),
              ReasonIs(Reason::kModelBusy, HasSubstr("m is pinned on host as m@dev; unpin that")));
  ASSERT_OK(table_.SetPinned({.model = "m"}, "", true));
  EXPECT_THAT(table_.pins(), SizeIs(2));
  ASSERT_OK(table_.SetPinned({.model = "m"}, "", false));
  EXPECT_THAT(table_.pins(), ElementsAre(Field(&Pin::asked_revision, "dev")));
  EXPECT_TRUE(InfoOf(id).pinned);
  ASSERT_OK(table_.SetPinned({.model = "m", .revision = "dev"}, "", false));
  EXPECT_FALSE(InfoOf(id).pinned);
  EXPECT_OK(table_.SetPinned({.model = "m"}, "", false)) << "it is not pinned";
}

TEST_F(TablePinsTest, UnpinOfAGenerationTakesEveryPinThatStandsOnIt) {
  const CopyId id = Stage("dev", 1, /*pin=*/true);
  Use("", 1, /*pin=*/true);
  const uint64_t generation = InfoOf(id).id.value();
  ASSERT_OK(table_.SetPinned({.model = "m", .generation = generation}, "", false));
  EXPECT_THAT(table_.pins(), IsEmpty());
}

TEST_F(TablePinsTest, EvictionByForceTakesEveryPinToo) {
  Stage("dev", 1, /*pin=*/true);
  Use("", 1, /*pin=*/true);
  ASSERT_OK_AND_ASSIGN(EvictPlan plan, table_.Evict({.model = "m"}, "", /*force=*/true));
  (void)books_.Free(std::move(plan.doomed));
  EXPECT_THAT(table_.pins(), IsEmpty());
}

}  // namespace
}  // namespace weightd::testing
