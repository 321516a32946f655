#include "common/format_units.h"

#include "gtest/gtest.h"

namespace weightd {
namespace {

TEST(FormatUnitsTest, WritesDecimalUnits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1000), "1.0 kB");
  EXPECT_EQ(FormatBytes(4'200), "4.2 kB");
  EXPECT_EQ(FormatBytes(16'060'522'496), "16.1 GB");
  EXPECT_EQ(FormatBytes(2'000'000'000'000), "2.0 TB");
}

TEST(FormatUnitsTest, NeverRoundsUpToThousand) {
  EXPECT_EQ(FormatBytes(999'949), "999.9 kB");
  EXPECT_EQ(FormatBytes(999'950), "1.0 MB");
}

TEST(FormatUnitsTest, StaysInTheLargestUnit) { EXPECT_EQ(FormatBytes(~uint64_t{0}), "18446.7 PB"); }

}  // namespace
}  // namespace weightd
