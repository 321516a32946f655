#include "daemon/catalog/catalog_diff.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/storage/memory_volume.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class CatalogDiffTest : public ::testing::Test {
 protected:
  // One model, in a state that `version` names.
  Checkpoint Model(const std::string& model, uint64_t version, const std::string& problem = "") {
    Checkpoint checkpoint;
    checkpoint.model = model;
    checkpoint.volume = volume_;
    checkpoint.identities = {{.inode = version}};
    checkpoint.file_bytes = 100 + version;
    checkpoint.problem = problem;
    return checkpoint;
  }
  // "added a" and so on, of a look `seconds` after the start.
  std::vector<std::string> Look(int seconds, const std::vector<Checkpoint>& checkpoints) {
    std::vector<std::string> lines;
    for (const CatalogChange& change :
         diff_.Look(checkpoints, absl::UnixEpoch() + absl::Seconds(seconds))) {
      const char* kinds[] = {"added ", "changed ", "removed "};
      lines.push_back(absl::StrCat(kinds[static_cast<int>(change.kind)], change.model));
    }
    return lines;
  }
  int NextLook() const {
    return diff_.next_look().has_value() ? static_cast<int>(absl::ToUnixSeconds(*diff_.next_look()))
                                         : -1;
  }

  const std::shared_ptr<Volume> volume_ = std::make_shared<MemoryVolume>();
  CatalogDiff diff_{absl::Seconds(2)};
};

TEST_F(CatalogDiffTest, FirstLookTellsNothing) {
  EXPECT_THAT(Look(0, {Model("a", 1)}), IsEmpty());
  EXPECT_THAT(Look(9, {Model("a", 1)}), IsEmpty());
  EXPECT_EQ(NextLook(), -1);
}

TEST_F(CatalogDiffTest, TellsWhatCameChangedAndWentOnceItHasSettled) {
  Look(0, {Model("a", 1), Model("b", 1)});
  EXPECT_THAT(Look(10, {Model("b", 2), Model("c", 1)}), IsEmpty());
  EXPECT_EQ(NextLook(), 12);
  EXPECT_THAT(Look(11, {Model("b", 2), Model("c", 1)}), IsEmpty());
  EXPECT_THAT(Look(12, {Model("b", 2), Model("c", 1)}),
              ElementsAre("removed a", "changed b", "added c"));
  EXPECT_THAT(Look(20, {Model("b", 2), Model("c", 1)}), IsEmpty());
  EXPECT_EQ(NextLook(), -1);
}

// Somebody copies for minutes.
TEST_F(CatalogDiffTest, WhatGoesOnChangingHasNotSettled) {
  Look(0, {});
  for (int second = 1; second < 100; ++second) {
    EXPECT_THAT(Look(second, {Model("a", static_cast<uint64_t>(second))}), IsEmpty());
  }
  EXPECT_THAT(Look(101, {Model("a", 99)}), ElementsAre("added a"));
}

TEST_F(CatalogDiffTest, WhatIsNotWholeIsWaitedFor) {
  Look(0, {Model("a", 1)});
  const std::vector<Checkpoint> broken = {Model("a", 2, "shard 2 of 3 is missing"),
                                          Model("b", 1, "likewise")};
  EXPECT_THAT(Look(1, broken), IsEmpty());
  EXPECT_THAT(Look(50, broken), IsEmpty());
  EXPECT_EQ(NextLook(), -1) << "only somebody's change can mend it";
  Look(51, {Model("a", 3), Model("b", 2)});
  EXPECT_THAT(Look(53, {Model("a", 3), Model("b", 2)}), ElementsAre("changed a", "added b"));
}

TEST_F(CatalogDiffTest, WhatIsNotWholeAtTheStartIsNewWhenItIs) {
  Look(0, {Model("a", 1, "a shard is missing")});
  Look(1, {Model("a", 2)});
  EXPECT_THAT(Look(3, {Model("a", 2)}), ElementsAre("added a"));
}

TEST_F(CatalogDiffTest, WhatIsBackAsItWasIsNoChange) {
  Look(0, {Model("a", 1)});
  Look(1, {});
  EXPECT_THAT(Look(2, {Model("a", 1)}), IsEmpty());
  EXPECT_THAT(Look(9, {Model("a", 1)}), IsEmpty());
  EXPECT_EQ(NextLook(), -1);
}

TEST_F(CatalogDiffTest, WhatCameAndWentBeforeItSettledIsForgotten) {
  Look(0, {});
  Look(1, {Model("a", 1)});
  EXPECT_THAT(Look(2, {}), IsEmpty());
  EXPECT_EQ(NextLook(), -1);
}

TEST_F(CatalogDiffTest, WithoutASettlingTimeOneLookIsEnough) {
  diff_ = CatalogDiff(absl::ZeroDuration());
  Look(0, {});
  EXPECT_THAT(Look(1, {Model("a", 1)}), ElementsAre("added a"));
}

}  // namespace
}  // namespace weightd::testing
