#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_header.h"

// Entries and metadata: the grammar of formats.md 2.2 above the level of JSON.

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string Entry(absl::string_view shape, absl::string_view offsets) {
  return OneTensor(
      absl::StrCat(R"({"dtype":"U8","shape":)", shape, R"(,"data_offsets":)", offsets, "}"));
}

struct BadEntry {
  const char* name;
  std::string header;
  const char* message;
};

class BadEntryTest : public ::testing::TestWithParam<BadEntry> {};

TEST_P(BadEntryTest, IsRefused) {
  const auto result = ParseHeader(GetParam().header, 4);
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(GetParam().message)));
  EXPECT_THAT(result, ReasonIs(Reason::kCheckpointInvalid, HasSubstr("m.safetensors")));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadEntryTest,
    ::testing::Values(
        BadEntry{"NoDtype", OneTensor(R"({"shape":[4],"data_offsets":[0,4]})"),
                 "tensor \"w\": no dtype"},
        BadEntry{"NoShape", OneTensor(R"({"dtype":"U8","data_offsets":[0,4]})"),
                 "tensor \"w\": no shape"},
        BadEntry{"NoOffsets", OneTensor(R"({"dtype":"U8","shape":[4]})"),
                 "tensor \"w\": no data_offsets"},
        BadEntry{"EmptyEntry", OneTensor("{}"), "no dtype"},
        BadEntry{"DtypeTwice",
                 OneTensor(R"({"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]})"),
                 "dtype occurs twice"},
        BadEntry{"ShapeTwice",
                 OneTensor(R"({"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]})"),
                 "shape occurs twice"},
        BadEntry{
            "OffsetsTwice",
            OneTensor(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,4]})"),
            "data_offsets occurs twice"},
        BadEntry{"FieldTwiceByEscape",
                 OneTensor(R"({"dtype":"U8","\u0064type":"U8","shape":[4],"data_offsets":[0,4]})"),
                 "dtype occurs twice"},
        BadEntry{"UnknownDtype", OneTensor("F31", "[4]", 4), "unknown dtype \"F31\""},
        BadEntry{"LowerCaseDtype", OneTensor("u8", "[4]", 4), "unknown dtype \"u8\""},
        BadEntry{"Complex128", OneTensor("C128", "[4]", 4), "unknown dtype"},
        BadEntry{"DtypeNumber", OneTensor(R"({"dtype":4,"shape":[4],"data_offsets":[0,4]})"),
                 "found the number 4, wanted a dtype"},
        BadEntry{"DtypeNull", OneTensor(R"({"dtype":null,"shape":[4],"data_offsets":[0,4]})"),
                 "found null, wanted a dtype"},
        BadEntry{"DtypeObjectEmpty", OneTensor(R"({"dtype":{},"shape":[4],"data_offsets":[0,4]})"),
                 "wanted a dtype"},
        BadEntry{"DtypeObjectUnknown",
                 OneTensor(R"({"dtype":{"F31":null},"shape":[4],"data_offsets":[0,4]})"),
                 "unknown dtype"},
        BadEntry{"DtypeObjectWithValue",
                 OneTensor(R"({"dtype":{"U8":1},"shape":[4],"data_offsets":[0,4]})"),
                 "wanted null"},
        BadEntry{"DtypeObjectOfTwo",
                 OneTensor(R"({"dtype":{"U8":null,"I8":null},"shape":[4],"data_offsets":[0,4]})"),
                 "wanted null and the end"},
        BadEntry{"EntryIsString", OneTensor("\"U8\""),
                 "wanted an object with dtype, shape and data_offsets"},
        BadEntry{"EntryIsNull", OneTensor("null"), "found null"},
        BadEntry{"EntryArrayShort", OneTensor(R"(["U8",[4]])"),
                 "found the end of an array, wanted data_offsets"},
        BadEntry{"EntryArrayEmpty", OneTensor("[]"), "wanted a dtype"},
        BadEntry{"EntryArrayLong", OneTensor(R"(["U8",[4],[0,4],1])"),
                 "wanted the end of the entry"},
        BadEntry{"EntryArrayWrongOrder", OneTensor(R"([[4],"U8",[0,4]])"), "wanted a dtype"},
        BadEntry{"ShapeIsNumber", Entry("4", "[0,4]"), "wanted shape, an array"},
        BadEntry{"ShapeIsObject", Entry("{}", "[0,4]"), "wanted shape, an array"},
        BadEntry{"ShapeNested", Entry("[[4]]", "[0,4]"), "wanted a dimension"},
        BadEntry{"DimensionString", Entry(R"(["4"])", "[0,4]"),
                 "found the string \"4\", wanted a dimension"},
        BadEntry{"DimensionNull", Entry("[null]", "[0,4]"), "wanted a dimension"},
        BadEntry{"DimensionBoolean", Entry("[true]", "[0,4]"), "found a boolean"},
        BadEntry{"DimensionWithFraction", Entry("[4.0]", "[0,4]"), "found the number 4.0"},
        BadEntry{"DimensionWithExponent", Entry("[4e0]", "[0,4]"), "found the number 4e0"},
        BadEntry{"DimensionNegative", Entry("[-4]", "[0,4]"), "found the number -4"},
        BadEntry{"DimensionMinusZero", Entry("[-0]", "[0,4]"), "found the number -0"},
        BadEntry{"DimensionLeadingZero", Entry("[04]", "[0,4]"), "not valid JSON"},
        BadEntry{"DimensionPlus", Entry("[+4]", "[0,4]"), "not valid JSON"},
        BadEntry{"DimensionAbove64Bits", Entry("[18446744073709551616]", "[0,4]"),
                 "found the number 18446744073709551616"},
        BadEntry{"OffsetAbove64Bits", Entry("[4]", "[0,18446744073709551620]"),
                 "wanted a data offset"},
        BadEntry{"OffsetNegative", Entry("[4]", "[-1,4]"), "found the number -1"},
        BadEntry{"OffsetWithFraction", Entry("[4]", "[0,4.0]"), "found the number 4.0"},
        BadEntry{"OffsetString", Entry("[4]", R"(["0",4])"), "wanted a data offset"},
        BadEntry{"OffsetsOne", Entry("[4]", "[0]"), "data_offsets has 1 numbers, wanted 2"},
        BadEntry{"OffsetsThree", Entry("[4]", "[0,4,4]"), "data_offsets has 3 numbers, wanted 2"},
        BadEntry{"OffsetsEmpty", Entry("[4]", "[]"), "data_offsets has 0 numbers"},
        BadEntry{"OffsetsObject", Entry("[4]", "{}"), "wanted data_offsets, an array"},
        BadEntry{"UnknownKeyNotJson",
                 OneTensor(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":[1,}})"),
                 "not valid JSON"},
        BadEntry{"MetadataNumber", R"({"__metadata__":{"a":1}})",
                 "__metadata__: \"a\": found the number 1, wanted a string"},
        BadEntry{"MetadataNullValue", R"({"__metadata__":{"a":null}})", "wanted a string"},
        BadEntry{"MetadataNested", R"({"__metadata__":{"a":{}}})", "wanted a string"},
        BadEntry{"MetadataString", R"({"__metadata__":"a"})", "wanted an object of strings"},
        BadEntry{"MetadataArray", R"({"__metadata__":[]})", "wanted an object of strings"},
        BadEntry{"MetadataTwice", R"({"__metadata__":{},"__metadata__":{}})",
                 "__metadata__ occurs twice"},
        BadEntry{"MetadataTwiceByEscape", R"({"__metadata__":{},"\u005f_metadata__":{}})",
                 "__metadata__ occurs twice"},
        BadEntry{
            "NameTwice",
            R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
            "tensor \"a\" occurs twice"},
        BadEntry{
            "NameTwiceByEscape",
            R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
            "tensor \"a\" occurs twice"},
        BadEntry{
            "NameTwiceEqualEntries",
            R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
            "occurs twice"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(SafetensorsHeaderTest, AcceptsEntryAsArray) {
  ASSERT_OK_AND_ASSIGN(const ShardHeader header,
                       ParseHeader(OneTensor(R"(["F32",[2,3],[0,24]])"), 24));
  ASSERT_EQ(header.tensors.size(), 1u);
  EXPECT_EQ(header.tensors[0].dtype, Dtype::kF32);
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(header.tensors[0].bytes, 24u);
}

TEST(SafetensorsHeaderTest, AcceptsDtypeAsObject) {
  for (const char* entry : {R"({"dtype":{"F32":null},"shape":[1],"data_offsets":[0,4]})",
                            R"([{"F32":null},[1],[0,4]])"}) {
    ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseHeader(OneTensor(entry), 4));
    EXPECT_EQ(header.tensors[0].dtype, Dtype::kF32);
  }
}

TEST(SafetensorsHeaderTest, IgnoresUnknownKeysOfAnEntry) {
  EXPECT_OK(ParseHeader(
      OneTensor(R"({"x":{"dtype":"F9","y":[1.5,-0,null,{"z":"w"}]},"dtype":"U8","x":true,)"
                R"("shape":[4],"data_offsets":[0,4],"n":18446744073709551616})"),
      4));
}

TEST(SafetensorsHeaderTest, AcceptsFieldsInAnyOrder) {
  EXPECT_OK(ParseHeader(OneTensor(R"({"data_offsets":[0,4],"shape":[4],"dtype":"U8"})"), 4));
}

TEST(SafetensorsHeaderTest, AcceptsNullMetadata) {
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseHeader(R"({"__metadata__":null})"));
  EXPECT_TRUE(header.metadata.empty());
}

TEST(SafetensorsHeaderTest, TakesTheLastOfAMetadataKeyThatOccursTwice) {
  ASSERT_OK_AND_ASSIGN(const ShardHeader header,
                       ParseHeader(R"({"__metadata__":{"a":"1","b":"","a":"2"}})"));
  EXPECT_THAT(header.metadata, ElementsAre(Pair("a", "2"), Pair("b", "")));
}

TEST(SafetensorsHeaderTest, AcceptsAnEmptyName) {
  ASSERT_OK_AND_ASSIGN(const ShardHeader header,
                       ParseHeader(R"({"":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4));
  EXPECT_EQ(header.tensors[0].name, "");
}

TEST(SafetensorsHeaderTest, AcceptsScalars) {
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseHeader(OneTensor("F64", "[]", 8), 8));
  EXPECT_TRUE(header.tensors[0].shape.empty());
}

TEST(SafetensorsHeaderTest, TakesEachTensorsOwnDtype) {
  ASSERT_OK_AND_ASSIGN(const ShardHeader header,
                       ParseHeader(R"({"a":["BF16",[1],[0,2]],"b":["F16",[1],[2,4]],)"
                                   R"("c":["F16",[1],[4,6]],"d":["BF16",[1],[6,8]]})",
                                   8));
  std::vector<Dtype> dtypes;
  for (const TensorEntry& tensor : header.tensors) dtypes.push_back(tensor.dtype);
  EXPECT_THAT(dtypes, ElementsAre(Dtype::kBf16, Dtype::kF16, Dtype::kF16, Dtype::kBf16));
}

TEST(SafetensorsHeaderTest, KnowsEveryDtypeOfItsFormatAndNoOther) {
  for (int value = kSafetensorsDtypeCount + 1; value <= kDtypeCount; ++value) {
    const absl::string_view name = DtypeName(*DtypeFromValue(value));
    EXPECT_FALSE(ParseHeader(OneTensor(name, "[0]", 0), 0).ok()) << name;
  }
  for (int value = 1; value <= kSafetensorsDtypeCount; ++value) {
    const Dtype dtype = *DtypeFromValue(value);
    const uint64_t bytes = DtypeBits(dtype);  // of 8 elements
    ASSERT_OK_AND_ASSIGN(const ShardHeader header,
                         ParseHeader(OneTensor(DtypeName(dtype), "[2,4]", bytes), bytes));
    EXPECT_EQ(header.tensors[0].dtype, dtype);
  }
}

}  // namespace
}  // namespace weightd::testing
