#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_header.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

void ExpectLimit(const absl::Status& status, const std::string& message) {
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(message)));
  EXPECT_THAT(status, ReasonIs(Reason::kLimitExceeded, HasSubstr("m.safetensors")));
}

std::string EmptyTensors(int count) {
  std::string header = "{";
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&header, i == 0 ? "" : ",", "\"t", i,
                    R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})");
  }
  return header + "}";
}

std::string NameOf(size_t bytes) {
  return absl::StrCat("{\"", std::string(bytes, 'n'),
                      R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})");
}

std::string RankOf(size_t rank) {
  return OneTensor("U8", absl::StrCat("[", absl::StrJoin(std::vector<int>(rank, 1), ","), "]"), 1);
}

TEST(SafetensorsLimitsTest, HoldsTheNumberOfTensors) {
  EXPECT_OK(ParseHeader(EmptyTensors(3), 0, {.tensors_max = 3}));
  ExpectLimit(ParseHeader(EmptyTensors(4), 0, {.tensors_max = 3}).status(),
              "more tensors than the 3 that are allowed");
}

TEST(SafetensorsLimitsTest, HoldsTheLengthOfNames) {
  EXPECT_OK(ParseHeader(NameOf(65'535)));
  ExpectLimit(ParseHeader(NameOf(65'536)).status(),
              "has a name of 65536 bytes, at most 65535 are allowed");
}

TEST(SafetensorsLimitsTest, HoldsTheRank) {
  EXPECT_OK(ParseHeader(RankOf(64), 1));
  ExpectLimit(ParseHeader(RankOf(65), 1).status(), "more than the 64 dimensions");
}

TEST(SafetensorsLimitsTest, HoldsTheHeaderLength) {
  std::array<std::byte, 8> prefix{};
  prefix[0] = std::byte{11};
  EXPECT_OK(ParseSafetensorsPrefix(prefix, 100, "m.safetensors", {.header_bytes_max = 11}));
  ExpectLimit(
      ParseSafetensorsPrefix(prefix, 100, "m.safetensors", {.header_bytes_max = 10}).status(),
      "it has 11 bytes, at most 10 are allowed");
}

TEST(SafetensorsLimitsTest, ValidatesItself) {
  EXPECT_OK(SafetensorsLimits().Validate());
  EXPECT_THAT(SafetensorsLimits{.header_bytes_max = 100'000'001}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("header_bytes_max")));
  EXPECT_THAT(SafetensorsLimits{.tensors_max = 0}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("wanted 1 to 16000000")));
  EXPECT_THAT(SafetensorsLimits{.name_bytes_max = 65'536}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name_bytes_max")));
  EXPECT_THAT(SafetensorsLimits{.rank_max = 65}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank_max")));
}

}  // namespace
}  // namespace weightd::testing
