#include "common/dtype.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace weightd {
namespace {

constexpr uint64_t kTwoTo32 = uint64_t{1} << 32;

std::optional<uint64_t> Bytes(Dtype dtype, const std::vector<uint64_t>& shape) {
  return TensorBytes(dtype, shape);
}

TEST(DtypeTest, NamesAndValuesGoBothWays) {
  for (int value = 1; value <= kDtypeCount; ++value) {
    const auto dtype = DtypeFromValue(value);
    ASSERT_TRUE(dtype.has_value());
    EXPECT_EQ(static_cast<int>(*dtype), value);
    EXPECT_EQ(DtypeFromName(DtypeName(*dtype)), dtype);
  }
}

TEST(DtypeTest, KnowsNothingElse) {
  EXPECT_FALSE(DtypeFromValue(0).has_value());
  EXPECT_FALSE(DtypeFromValue(kDtypeCount + 1).has_value());
  EXPECT_FALSE(DtypeFromValue(-1).has_value());
  EXPECT_FALSE(DtypeFromName("").has_value());
  EXPECT_FALSE(DtypeFromName("f32").has_value());
  EXPECT_FALSE(DtypeFromName("F32 ").has_value());
}

TEST(DtypeTest, HasTheBitsOfTheFormat) {
  EXPECT_EQ(DtypeBits(Dtype::kF4), 4u);
  EXPECT_EQ(DtypeBits(Dtype::kF6E2M3), 6u);
  EXPECT_EQ(DtypeBits(Dtype::kF6E3M2), 6u);
  EXPECT_EQ(DtypeBits(Dtype::kBool), 8u);
  EXPECT_EQ(DtypeBits(Dtype::kF8E8M0), 8u);
  EXPECT_EQ(DtypeBits(Dtype::kBf16), 16u);
  EXPECT_EQ(DtypeBits(Dtype::kF32), 32u);
  EXPECT_EQ(DtypeBits(Dtype::kC64), 64u);
  EXPECT_EQ(DtypeBits(Dtype::kU64), 64u);
}

TEST(DtypeTest, AlignsComplexNumbersLikeTheirParts) {
  EXPECT_EQ(DtypeAlignment(Dtype::kC64), 4u);
  EXPECT_EQ(DtypeAlignment(Dtype::kF64), 8u);
  EXPECT_EQ(DtypeAlignment(Dtype::kBf16), 2u);
  EXPECT_EQ(DtypeAlignment(Dtype::kF4), 1u);
}

TEST(TensorBytesTest, MultipliesDimensionsAndElementSize) {
  EXPECT_EQ(Bytes(Dtype::kF32, {2, 3}), 24u);
  EXPECT_EQ(Bytes(Dtype::kF64, {}), 8u);
  EXPECT_EQ(Bytes(Dtype::kU8, {0}), 0u);
  EXPECT_EQ(Bytes(Dtype::kF4, {3, 2}), 3u);
  EXPECT_EQ(Bytes(Dtype::kF6E2M3, {4}), 3u);
}

TEST(TensorBytesTest, MultipliesLeftToRight) {
  EXPECT_EQ(Bytes(Dtype::kU8, {0, kTwoTo32, kTwoTo32}), 0u);
  EXPECT_FALSE(Bytes(Dtype::kU8, {kTwoTo32, kTwoTo32, 0}).has_value());
}

TEST(TensorBytesTest, RefusesBitsThatOverflow) {
  EXPECT_EQ(Bytes(Dtype::kU8, {(uint64_t{1} << 61) - 1}), (uint64_t{1} << 61) - 1);
  EXPECT_FALSE(Bytes(Dtype::kU8, {uint64_t{1} << 61}).has_value());
  EXPECT_FALSE(Bytes(Dtype::kU64, {uint64_t{1} << 58}).has_value());
}

TEST(TensorBytesTest, RefusesPartsOfAByte) {
  EXPECT_FALSE(Bytes(Dtype::kF4, {}).has_value());
  EXPECT_FALSE(Bytes(Dtype::kF4, {3}).has_value());
  EXPECT_FALSE(Bytes(Dtype::kF6E3M2, {2}).has_value());
}

}  // namespace
}  // namespace weightd
