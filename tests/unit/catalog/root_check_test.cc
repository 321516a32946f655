#include "daemon/catalog/root_check.h"

#include "gtest/gtest.h"
#include "tests/support/process/wait_until.h"
#include "tests/support/storage/fuse_volume.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace weightd {
namespace {

class RootCheckTest : public testing::CatalogFixture {
 protected:
  RootFacts Check(bool read) const {
    auto root = Root::Create(first_.path(), {});
    EXPECT_OK(root);
    return RootChecker({*root}, {}).Check(nullptr, read)[0];
  }
};

TEST_F(RootCheckTest, LooksAtTheLargestFile) {
  WriteOne("small.safetensors");
  ASSERT_OK(weightd::testing::WriteSafetensors(first_.File("large.safetensors"),
                                               {{"a", Dtype::kU8, {1 << 20}}}, {}));
  const RootFacts looked = Check(/*read=*/false);
  EXPECT_EQ(looked.root, first_.path());
  EXPECT_EQ(looked.file, "large.safetensors");
  EXPECT_EQ(looked.error, "");
  EXPECT_FALSE(looked.speed.has_value());
  const RootFacts read = Check(/*read=*/true);
  ASSERT_TRUE(read.speed.has_value());
  EXPECT_GT(read.speed->bytes, 1u << 20);
}

TEST_F(RootCheckTest, AnEmptyRootHasNoFileAndNoError) {
  const RootFacts facts = Check(/*read=*/true);
  EXPECT_EQ(facts.file, "");
  EXPECT_EQ(facts.error, "");
}

TEST_F(RootCheckTest, ARootThatIsGoneIsSaid) {
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Root> root, Root::Create(first_.path(), {}));
  RootChecker checker({root}, {});
  EXPECT_EQ(checker.Check(nullptr, true)[0].error, "");
  std::filesystem::remove_all(first_.path());
  EXPECT_NE(checker.Check(nullptr, true)[0].error, "");
}

// However many ask, one call waits for the volume; and nobody waits for the other root's.
TEST_F(RootCheckTest, ARootThatHangsIsAskedOnceAndToldAtOnceFromThenOn) {
  auto volume = weightd::testing::FuseVolume::Mount({{"m.safetensors", "none"}});
  if (!volume.ok()) GTEST_SKIP() << volume.status();
  WriteOne("m.safetensors");
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Root> hung, Root::Create((*volume)->root(), {}));
  ASSERT_OK_AND_ASSIGN(const std::shared_ptr<Root> good, Root::Create(first_.path(), {}));
  (*volume)->HangLookups();
  RootChecker checker({hung, good}, {}, {}, /*patience=*/absl::Milliseconds(50));
  for (int i = 0; i < 5; ++i) {
    const std::vector<RootFacts> facts = checker.Check(nullptr, /*read=*/false);
    EXPECT_EQ(facts[0].reason, "VOLUME_STUCK") << facts[0].error;
    EXPECT_EQ(facts[1].file, "m.safetensors");
  }
  EXPECT_EQ(hung->threads()->state().running, 1);
  (*volume)->Answer();
  EXPECT_TRUE(weightd::testing::WaitUntil(
      [&] { return checker.Check(nullptr, /*read=*/false)[0].reason != "VOLUME_STUCK"; }));
}

}  // namespace
}  // namespace weightd
