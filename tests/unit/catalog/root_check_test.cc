#include "daemon/catalog/root_check.h"

#include "gtest/gtest.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace weightd {
namespace {

class RootCheckTest : public testing::CatalogFixture {
 protected:
  RootFacts Check(bool read) const {
    auto root = Root::Create(first_.path(), {});
    EXPECT_OK(root);
    return CheckRoot(*root, nullptr, {}, read, {});
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
  EXPECT_EQ(CheckRoot(root, nullptr, {}, true, {}).error, "");
  std::filesystem::remove_all(first_.path());
  EXPECT_NE(CheckRoot(root, nullptr, {}, true, {}).error, "");
}

}  // namespace
}  // namespace weightd
