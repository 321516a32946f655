#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_header.h"

// Header length, ranges and sizes: formats.md 2.4, rules 1-3, 6 and 7.

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<uint64_t> Prefix(uint64_t header_bytes, uint64_t file_bytes) {
  std::array<std::byte, 8> bytes;
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(header_bytes >> (8 * i));
  return ParseSafetensorsPrefix(bytes, file_bytes, "m.safetensors");
}

// {"a":U8[..] [begin,end], "b":...}
std::string Ranges(const std::vector<std::array<uint64_t, 2>>& ranges) {
  std::vector<std::string> entries;
  entries.reserve(ranges.size());
  for (const auto& [begin, end] : ranges) {
    entries.push_back(absl::StrCat("\"", std::string(1, static_cast<char>('a' + entries.size())),
                                   R"(":{"dtype":"U8","shape":[)", end - begin,
                                   R"(],"data_offsets":[)", begin, ",", end, "]}"));
  }
  return absl::StrCat("{", absl::StrJoin(entries, ","), "}");
}

std::vector<std::string> Names(const ShardHeader& header) {
  std::vector<std::string> names;
  for (const TensorEntry& tensor : header.tensors) names.push_back(tensor.name);
  return names;
}

void ExpectInvalid(const absl::Status& status, const std::string& message) {
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(message)));
  EXPECT_THAT(status, ReasonIs(Reason::kCheckpointInvalid, HasSubstr("m.safetensors")));
}

TEST(SafetensorsPrefixTest, RefusesAFileOfLessThanEightBytes) {
  for (size_t bytes = 0; bytes < 8; ++bytes) {
    const std::vector<std::byte> prefix(bytes);
    ExpectInvalid(ParseSafetensorsPrefix(prefix, bytes, "m.safetensors").status(),
                  absl::StrCat("file has ", bytes, " bytes, wanted at least 8"));
  }
}

TEST(SafetensorsPrefixTest, RefusesAHeaderAbove100Megabytes) {
  ExpectInvalid(Prefix(100'000'001, uint64_t{1} << 40).status(),
                "header length is 100000001 bytes, wanted at most 100000000");
  ExpectInvalid(Prefix(~uint64_t{0}, ~uint64_t{0}).status(), "wanted at most 100000000");
  EXPECT_OK(Prefix(100'000'000, uint64_t{1} << 40));
}

TEST(SafetensorsPrefixTest, RefusesAHeaderLongerThanTheFile) {
  ExpectInvalid(Prefix(3, 10).status(), "header length is 3 bytes, only 2 are left in the file");
  ASSERT_OK_AND_ASSIGN(const uint64_t bytes, Prefix(2, 10));
  EXPECT_EQ(bytes, 2u);
  EXPECT_OK(Prefix(0, 8));  // rule 5 refuses it, not the prefix
}

TEST(SafetensorsPrefixTest, ReadsLittleEndian) {
  ASSERT_OK_AND_ASSIGN(const uint64_t bytes, Prefix(0x0102030, uint64_t{1} << 40));
  EXPECT_EQ(bytes, 0x0102030u);
}

TEST(SafetensorsLayoutTest, RefusesAHole) {
  ExpectInvalid(ParseHeader(Ranges({{0, 4}, {5, 8}}), 8).status(),
                "tensor \"b\": data_offsets [5,8] leaves a hole, wanted a range from 4");
}

TEST(SafetensorsLayoutTest, RefusesAHoleAtTheStart) {
  ExpectInvalid(ParseHeader(Ranges({{4, 8}}), 8).status(), "leaves a hole, wanted a range from 0");
}

TEST(SafetensorsLayoutTest, RefusesOverlappingRanges) {
  ExpectInvalid(ParseHeader(Ranges({{0, 4}, {3, 8}}), 8).status(),
                "tensor \"b\": data_offsets [3,8] overlaps another tensor");
}

TEST(SafetensorsLayoutTest, RefusesTwoNamesForTheSameBytes) {
  ExpectInvalid(ParseHeader(Ranges({{0, 4}, {0, 4}}), 4).status(), "overlaps another tensor");
}

TEST(SafetensorsLayoutTest, RefusesAnEndBeforeTheBegin) {
  ExpectInvalid(ParseHeader(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                            R"("b":{"dtype":"U8","shape":[0],"data_offsets":[4,2]}})",
                            4)
                    .status(),
                "tensor \"b\": data_offsets [4,2] ends before it begins");
}

TEST(SafetensorsLayoutTest, RefusesTruncatedData) {
  ExpectInvalid(ParseHeader(Ranges({{0, 8}}), 7).status(),
                "the last tensor ends at 8 of the data, which has 7 bytes: the file is cut off");
}

TEST(SafetensorsLayoutTest, RefusesBytesBehindTheLastTensor) {
  ExpectInvalid(ParseHeader(Ranges({{0, 8}}), 9).status(),
                "which has 9 bytes: the file is too long");
}

TEST(SafetensorsLayoutTest, RefusesDataWithoutTensors) {
  ExpectInvalid(ParseHeader("{}", 1).status(), "which has 1 bytes: the file is too long");
  EXPECT_OK(ParseHeader("{}", 0));
}

TEST(SafetensorsLayoutTest, RefusesAFileThatEndsInItsHeader) {
  ExpectInvalid(ParseSafetensorsHeader("{}", 9, "m.safetensors").status(),
                "file has 9 bytes, its header ends at 10");
}

TEST(SafetensorsLayoutTest, RefusesALengthThatDisagreesWithDtypeAndShape) {
  ExpectInvalid(ParseHeader(OneTensor("F32", "[2,3]", 23), 23).status(),
                "tensor \"w\": data_offsets [0,23] are 23 bytes, wanted 24 for shape [2,3] of F32");
  ExpectInvalid(ParseHeader(OneTensor("F16", "[2,3]", 24), 24).status(), "wanted 12");
  ExpectInvalid(ParseHeader(OneTensor("F32", "[]", 8), 8).status(), "wanted 4 for shape [] of F32");
  ExpectInvalid(ParseHeader(OneTensor("U8", "[5,0]", 5), 5).status(), "wanted 0");
}

TEST(SafetensorsLayoutTest, MultipliesDimensionsLeftToRight) {
  EXPECT_OK(ParseHeader(OneTensor("U8", "[0,4294967296,4294967296]", 0)));
  ExpectInvalid(ParseHeader(OneTensor("U8", "[4294967296,4294967296,0]", 0)).status(),
                "shape [4294967296,4294967296,0] of U8 overflows 64 bits");
}

TEST(SafetensorsLayoutTest, RefusesABitCountThatOverflows) {
  ExpectInvalid(ParseHeader(OneTensor("F64", "[288230376151711744]", 0)).status(),
                "overflows 64 bits");
  ExpectInvalid(ParseHeader(OneTensor("U8", "[18446744073709551615]", 0)).status(),
                "overflows 64 bits");
}

TEST(SafetensorsLayoutTest, RefusesSubByteTensorsThatEndInsideAByte) {
  ExpectInvalid(ParseHeader(OneTensor("F4", "[3]", 2), 2).status(),
                "shape [3] of F4 has 12 bits, wanted whole bytes");
  ExpectInvalid(ParseHeader(OneTensor("F6_E2M3", "[]", 1), 1).status(), "has 6 bits");
  EXPECT_OK(ParseHeader(OneTensor("F4", "[3,2]", 3), 3));
  EXPECT_OK(ParseHeader(OneTensor("F6_E3M2", "[4]", 3), 3));
}

TEST(SafetensorsLayoutTest, ChecksRangesBeforeSizes) {
  // Both rules are broken; 6a comes first.
  ExpectInvalid(ParseHeader(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[1,2]}})", 2).status(),
                "leaves a hole");
}

TEST(SafetensorsLayoutTest, SortsTensorsByOffsetThenName) {
  ASSERT_OK_AND_ASSIGN(const ShardHeader header,
                       ParseHeader(Ranges({{4, 8}, {0, 4}, {8, 8}, {4, 4}, {0, 0}}), 8));
  EXPECT_THAT(Names(header), ElementsAre("b", "e", "a", "d", "c"));
}

TEST(SafetensorsLayoutTest, AcceptsEmptyTensorsAtAnyBoundary) {
  EXPECT_OK(ParseHeader(Ranges({{0, 0}, {0, 4}, {4, 4}, {4, 4}, {4, 8}, {8, 8}}), 8));
  EXPECT_OK(ParseHeader(Ranges({{0, 0}}), 0));
  ExpectInvalid(ParseHeader(Ranges({{0, 4}, {2, 2}, {4, 8}}), 8).status(), "overlaps");
}

TEST(SafetensorsLayoutTest, AcceptsADataSectionAtAnOddOffset) {
  const std::string header = absl::StrCat(Ranges({{0, 4}}), " ");
  ASSERT_OK_AND_ASSIGN(const ShardHeader parsed, ParseHeader(header, 4));
  EXPECT_EQ(parsed.shard.data_offset, 8 + header.size());
}

TEST(SafetensorsLayoutTest, ReadsWhatTheTestWriterWrites) {
  const std::vector<TensorSpec> specs = LlamaSpecs(uint64_t{16} << 30);
  const std::string text = SafetensorsHeaderText(specs, {});
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseHeader(text, SpecBytes(specs)));
  EXPECT_EQ(header.tensors.size(), specs.size());
  EXPECT_EQ(header.shard.data_offset % 8, 0u);
}

}  // namespace
}  // namespace weightd::testing
