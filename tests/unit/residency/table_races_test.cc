// Orders of events in which the books went wrong once: the simulation (tests/simulation) found
// them.

#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/residency/table_books.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class TableRacesTest : public ::testing::Test {
 protected:
  // A copy in kStaging of `generation`, or of a new one.
  Admission Admit(const std::string& device, bool host_copy, GenerationId generation = {}) {
    StageClaim claim = TableBooks::Claim("a", device, 10);
    claim.generation = generation;
    claim.places[0].host_copy = host_copy;
    return *table_.Admit(claim);
  }
  CopyId Publish(const Admission& admission, const std::string& device, uint64_t inode = 1) {
    (void)books_.Free(books_.Publish(admission, "a", device, {{.inode = inode}}));
    return admission.copies.front();
  }
  CopyId Stage(const std::string& device, bool host_copy, uint64_t inode = 1) {
    return Publish(Admit(device, host_copy), device, inode);
  }
  // "copy device" of each that is not superseded.
  std::vector<std::string> Following() const {
    std::vector<std::string> all;
    for (const CopyInfo& info : table_.List()) {
      if (!info.superseded) all.push_back(absl::StrCat(info.copy.value(), " ", info.device));
    }
    return all;
  }
  static std::string Name(CopyId id, const char* device) {
    return absl::StrCat(id.value(), " ", device);
  }
  UseResult Use(uint64_t inode, bool current = false) {
    UseResult used = table_.Use({.model = "a",
                                 .asked_revision = "",
                                 .device = "host",
                                 .identities = {{.inode = inode}},
                                 .current = current},
                                books_.now());
    (void)table_.Unhold(used.content->copy);
    return used;
  }

  ResidencyTable table_{{.budgets = {{"host", DeviceKind::kHost, 100},
                                     {"gpu", DeviceKind::kCuda, 100},
                                     {"gpu2", DeviceKind::kCuda, 100}}},
                        ThreadExecutor::Get()};
  TableBooks books_{table_};
};

TEST_F(TableRacesTest, HostCopyThatSomebodyAsksForReplacesTheOlderOne) {
  const CopyId old = Stage("host", /*host_copy=*/false, 1);
  const CopyId kept = Stage("host", /*host_copy=*/true, 2);
  EXPECT_THAT(Following(), SizeIs(2));
  UseResult used = Use(2);
  ASSERT_THAT(used.published.doomed, SizeIs(1));
  EXPECT_EQ(used.published.doomed[0].info.copy, old);
  EXPECT_THAT(books_.Free(std::move(used.published.doomed)), SizeIs(1));
  EXPECT_THAT(Following(), ElementsAre(Name(kept, "host")));
}

// Two jobs read the volume before and after it changed; the bytes of the second were taken first.
TEST_F(TableRacesTest, WhatTheVolumeHasNowReplacesALaterIdToo) {
  StageClaim by_revision = TableBooks::Claim("a", "host", 10);
  by_revision.asked_revision = "main";
  const Admission now = *table_.Admit(by_revision);
  Publish(now, "host", 2);
  const CopyId before = Stage("host", /*host_copy=*/false, 1);
  UseResult used = Use(2);
  ASSERT_THAT(used.published.doomed, SizeIs(1));
  EXPECT_EQ(used.published.doomed[0].info.copy, before);
}

TEST_F(TableRacesTest, HostTierKeepsOnlyTheNewestOfTwoDemotedAtOnce) {
  const Admission older = Admit("gpu", false);
  const Admission newer = Admit("gpu2", false);
  Publish(older, "gpu");
  Publish(newer, "gpu2", 2);
  const Admission older_kept = Admit("host", true, older.generation);
  const Admission newer_kept = Admit("host", true, newer.generation);
  Publish(older_kept, "host");
  const CopyId kept = Publish(newer_kept, "host", 2);
  EXPECT_THAT(Following(), ::testing::Contains(Name(kept, "host")));
  EXPECT_THAT(table_.List(), SizeIs(3));
}

TEST_F(TableRacesTest, OldContentIsNotKeptWhereANewerGenerationIs) {
  Stage("gpu", false, 1);
  Stage("gpu2", false, 2);
  ASSERT_OK_AND_ASSIGN(EvictPlan plan, table_.Evict({.model = "a"}, "gpu", false));
  ASSERT_THAT(plan.doomed, SizeIs(1));
  EXPECT_FALSE(plan.doomed[0].may_demote);
  (void)books_.Free(std::move(plan.doomed));
  ASSERT_OK_AND_ASSIGN(plan, table_.Evict({.model = "a"}, "gpu2", false));
  EXPECT_TRUE(plan.doomed[0].may_demote);
  (void)books_.Free(std::move(plan.doomed));
}

// A demotion and a job make the same content on the host at once.
TEST_F(TableRacesTest, OfTwoCopiesOfOneContentTheOneThatIsAskedForStays) {
  for (const bool job_first : {false, true}) {
    const Admission on_gpu = Admit("gpu", false);
    Publish(on_gpu, "gpu");
    const Admission demoted = Admit("host", true, on_gpu.generation);
    const Admission wanted = Admit("host", false, on_gpu.generation);
    if (job_first) Publish(wanted, "host");
    Publish(demoted, "host");
    if (!job_first) Publish(wanted, "host");
    EXPECT_THAT(Following(),
                ElementsAre(Name(on_gpu.copies[0], "gpu"), Name(wanted.copies[0], "host")));
    EXPECT_THAT(table_.List(), SizeIs(2));
    (void)books_.Free(table_.EvictAll());
  }
}

// The volume is back at what it had, and somebody still has that.
TEST_F(TableRacesTest, SupersededCopyFollowsAgainWhenTheVolumeIsBackAtIt) {
  const CopyId old = Stage("host", /*host_copy=*/false, 1);
  books_.Lease("a", "host");
  const CopyId newer = Stage("host", /*host_copy=*/false, 2);
  EXPECT_THAT(Following(), ElementsAre(Name(newer, "host")));
  UseResult used = Use(1, /*current=*/true);
  EXPECT_EQ(used.content->copy, old);
  ASSERT_THAT(used.published.doomed, SizeIs(1));
  EXPECT_EQ(used.published.doomed[0].info.copy, newer);
  (void)books_.Free(std::move(used.published.doomed));
  EXPECT_THAT(Following(), ElementsAre(Name(old, "host")));
  EXPECT_FALSE(table_.InfoOf(old).superseded_by.valid());
  books_.EndLease("a", "host");
  EXPECT_THAT(Following(), ElementsAre(Name(old, "host")));
}

// Asked for by its generation: there need be no second copy, and it still goes with its holders.
TEST_F(TableRacesTest, SupersededCopyIsUsedByWhoAsksForItsContent) {
  const CopyId old = Stage("host", /*host_copy=*/false, 1);
  books_.Lease("a", "host");
  const CopyId newer = Stage("host", /*host_copy=*/false, 2);
  const UseResult used = Use(1);
  EXPECT_EQ(used.content->copy, old);
  EXPECT_THAT(used.published.doomed, IsEmpty());
  EXPECT_THAT(Following(), ElementsAre(Name(newer, "host")));
  books_.EndLease("a", "host");
  EXPECT_THAT(table_.List(), SizeIs(1));
}

TEST_F(TableRacesTest, NoLeaseIsGrantedOnAHeldCopyThatIsEvictedByForce) {
  const CopyId id = Stage("host", false);
  ASSERT_OK_AND_ASSIGN(const HeldCopy held, table_.HoldAny({.model = "a"}));
  ASSERT_OK_AND_ASSIGN(const EvictPlan plan, table_.Evict({.model = "a"}, "", /*force=*/true));
  EXPECT_THAT(plan.revoking, SizeIs(1));
  EXPECT_THAT(table_.AcquireHeld(id, books_.now()), ReasonIs(Reason::kModelBusy, _));
  EXPECT_EQ(table_.InfoOf(id).state, ResidencyState::kRevoking);
  EXPECT_THAT(books_.Free(table_.Unhold(id)), ElementsAre("a"));
  EXPECT_THAT(table_.List(), IsEmpty());
}

}  // namespace
}  // namespace weightd::testing
