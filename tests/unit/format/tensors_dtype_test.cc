#include "daemon/format/tensors_dtype.h"

#include <string>

#include "tests/support/common/status_matchers.h"

// Dtype strings: formats.md 1.6.2.

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using namespace std::string_literals;  // NOLINT: strings with NUL

TEST(TensorsDtypeTest, ReadsWhatTheFormatLists) {
  const struct {
    std::string text;
    Dtype dtype;
    std::string torch_name;
  } kCases[] = {
      {"|b1", Dtype::kBool, ""},
      {"|u1", Dtype::kU8, ""},
      {"|i1", Dtype::kI8, ""},
      {"<i2", Dtype::kI16, ""},
      {"<i4", Dtype::kI32, ""},
      {"<i8", Dtype::kI64, ""},
      {"<u2", Dtype::kU16, ""},
      {"<u4", Dtype::kU32, ""},
      {"<u8", Dtype::kU64, ""},
      {"<f2", Dtype::kF16, ""},
      {"<f4", Dtype::kF32, ""},
      {"<f8", Dtype::kF64, ""},
      {"<c8", Dtype::kC64, ""},
      {"<c16", Dtype::kC128, ""},
      {"<V2\0torch.bfloat16"s, Dtype::kBf16, ""},
      {"<V4\0torch.complex32"s, Dtype::kC32, ""},
      {"|V1\0torch.float8_e4m3fn"s, Dtype::kF8E4M3, ""},
      {"|V1\0torch.float8_e5m2"s, Dtype::kF8E5M2, ""},
      {"|V1\0torch.float8_e4m3fnuz"s, Dtype::kF8E4M3Fnuz, ""},
      {"|V1\0torch.float8_e5m2fnuz"s, Dtype::kF8E5M2Fnuz, ""},
      {"|V1\0torch.float8_e8m0fnu"s, Dtype::kF8E8M0, ""},
      {"|V1\0torch.bits8"s, Dtype::kOpaque8, "torch.bits8"},
      {"|V1\0torch.uint4"s, Dtype::kOpaque8, "torch.uint4"},
      {"<V2\0torch.bits16"s, Dtype::kOpaque16, "torch.bits16"},
      {"<V4\0torch.later32"s, Dtype::kOpaque32, "torch.later32"},
      {"<V8\0torch.later64"s, Dtype::kOpaque64, "torch.later64"},
      // A torch part behind another type is ignored, and one that numpy has may be opaque.
      {"<f4\0torch.whatever"s, Dtype::kF32, ""},
      {"<V4\0torch.float32"s, Dtype::kF32, ""},
  };
  for (const auto& wanted : kCases) {
    ASSERT_OK_AND_ASSIGN(const TensorsDtype dtype, ParseTensorsDtype(wanted.text));
    EXPECT_EQ(dtype.dtype, wanted.dtype) << wanted.text;
    EXPECT_EQ(dtype.torch_name, wanted.torch_name) << wanted.text;
  }
}

TEST(TensorsDtypeTest, RefusesEverythingElseAndSaysWhy) {
  const struct {
    std::string text;
    const char* why;
  } kCases[] = {
      {"", "wanted byte order, kind and size"},
      {"f4", "wanted byte order, kind and size"},
      {">f4", "big-endian"},
      {"=f4", "byte order"},
      {"|f4", "need the byte order <"},
      {"<f3", "not a type"},
      {"<f04", "not a type"},
      {"<O8", "not a type"},
      {"<U4", "not a type"},
      {"<c4", "not a type"},
      {"<V2", "needs the name"},
      {"<V2\0"s, "wanted torch.NAME"},
      {"<V2\0torch."s, "wanted torch.NAME"},
      {"<V2\0numpy.f2"s, "wanted torch.NAME"},
      {"<V3\0torch.x"s, "wanted V1, V2, V4 or V8"},
      {"<Vx\0torch.x"s, "wanted V1, V2, V4 or V8"},
      {"<V2\0torch.bfloat16\0x"s, "more than one NUL"},
      {"<V4\0torch.bfloat16"s, "has 2 bytes"},
      {"|V1\0torch.\xff"s, "not UTF-8"},
  };
  for (const auto& refused : kCases) {
    EXPECT_THAT(ParseTensorsDtype(refused.text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(refused.why)))
        << refused.text;
  }
}

TEST(TensorsDtypeTest, WritesEveryDtypeThatTheFormatHas) {
  for (int value = 1; value <= kDtypeCount; ++value) {
    const Dtype dtype = *DtypeFromValue(value);
    const std::string torch_name = dtype >= Dtype::kOpaque8 ? "torch.later" : "";
    const auto text = FormatTensorsDtype(dtype, torch_name);
    if (DtypeBits(dtype) < 8) {
      EXPECT_THAT(text, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("do not have it")));
      continue;
    }
    ASSERT_OK(text);
    ASSERT_OK_AND_ASSIGN(const TensorsDtype again, ParseTensorsDtype(*text));
    EXPECT_EQ(again.dtype, dtype);
    EXPECT_EQ(again.torch_name, torch_name);
  }
  EXPECT_FALSE(FormatTensorsDtype(Dtype::kOpaque8).ok());
}

}  // namespace
}  // namespace weightd::testing
