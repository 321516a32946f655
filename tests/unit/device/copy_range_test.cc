#include "daemon/device/copy_range.h"

#include <limits>

#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::_;
using testing::StatusIs;

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST(CopyRangeTest, TakesWhatLiesInside) {
  EXPECT_OK(CheckRange("copy", 0, 10, 10));
  EXPECT_OK(CheckRange("copy", 10, 0, 10));
  EXPECT_OK(CheckRange("copy", 9, 1, 10));
}

TEST(CopyRangeTest, RefusesWhatDoesNot) {
  EXPECT_THAT(CheckRange("copy", 9, 2, 10),
              StatusIs(absl::StatusCode::kOutOfRange, "copy: 2 bytes at 9 do not lie in 10 bytes"));
  EXPECT_THAT(CheckRange("copy", 11, 0, 10), StatusIs(absl::StatusCode::kOutOfRange, _));
  EXPECT_THAT(CheckRange("copy", kMax, 2, 10), StatusIs(absl::StatusCode::kOutOfRange, _));
  EXPECT_THAT(CheckRange("copy", 2, kMax, 10), StatusIs(absl::StatusCode::kOutOfRange, _));
}

TEST(CopyRangeTest, MovesMayTouchAndNotOverlap) {
  EXPECT_OK(CheckMove(0, 5, 5, 10));
  EXPECT_OK(CheckMove(5, 0, 5, 10));
  EXPECT_OK(CheckMove(3, 3, 0, 10));
  EXPECT_THAT(CheckMove(0, 4, 5, 10), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(CheckMove(3, 3, 1, 10), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(CheckMove(0, 6, 5, 10), StatusIs(absl::StatusCode::kOutOfRange, _));
}

}  // namespace
}  // namespace weightd
