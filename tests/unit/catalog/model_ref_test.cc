#include "daemon/catalog/model_ref.h"

#include "common/errors.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::_;

const std::string kCommit(40, '1');

TEST(ModelRefTest, NamesAModelAGenerationOrARevision) {
  EXPECT_EQ(*ParseModelRef("org/name"), (ModelRef{.model = "org/name"}));
  EXPECT_EQ(*ParseModelRef("name@17"), (ModelRef{.model = "name", .generation = 17}));
  EXPECT_EQ(*ParseModelRef("org/name@abcdef0"),
            (ModelRef{.model = "org/name", .revision = "abcdef0"}));
  EXPECT_EQ(*ParseModelRef("a@refs/pr/1"), (ModelRef{.model = "a", .revision = "refs/pr/1"}));
  // A commit may be all digits.
  EXPECT_EQ(*ParseModelRef("a@" + kCommit), (ModelRef{.model = "a", .revision = kCommit}));
  EXPECT_EQ(*ParseModelRef("a@18446744073709551615"),
            (ModelRef{.model = "a", .generation = UINT64_MAX}));
}

TEST(ModelRefTest, IsWrittenAsItIsRead) {
  for (const char* text : {"org/name", "name@17", "name@main", "a/b@refs/pr/1"}) {
    EXPECT_EQ(ToString(*ParseModelRef(text)), text);
  }
}

TEST(ModelRefTest, RefusesWhatCannotBeOne) {
  for (const char* text : {"a@", "a@0", "a@017", "a@18446744073709551616", "a@..", "a@x/../y",
                           "a@/x", "a@x/", "a@x\n", "a@@b@/", "@17"}) {
    EXPECT_THAT(ParseModelRef(text), StatusIs(absl::StatusCode::kInvalidArgument, _)) << text;
  }
  EXPECT_THAT(ParseModelRef("a@" + std::string(257, 'x')), ReasonIs(Reason::kInvalidRequest, _));
  EXPECT_THAT(ParseModelRef("../a@main"), ReasonIs(Reason::kPathOutsideRoot, _));
}

}  // namespace
}  // namespace weightd::testing
