#include "daemon/format/safetensors_index.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<SafetensorsIndex> Parse(absl::string_view text,
                                       const SafetensorsIndexLimits& limits = {}) {
  return ParseSafetensorsIndex(std::string(text), "m.safetensors.index.json", limits);
}

std::string OneShard(absl::string_view shard_json) {
  return absl::StrCat(R"({"weight_map":{"w":)", shard_json, "}}");
}

void ExpectInvalid(absl::string_view text, const std::string& message) {
  const auto result = Parse(text);
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(message)));
  EXPECT_THAT(result, ReasonIs(Reason::kCheckpointInvalid,
                               ::testing::StartsWith("read index m.safetensors.index.json")));
}

TEST(SafetensorsIndexTest, MapsTensorsToShards) {
  ASSERT_OK_AND_ASSIGN(const SafetensorsIndex index, Parse(R"({
    "metadata": { "total_size": 2048 },
    "weight_map": {
      "lm_head.weight": "model-00003-of-00003.safetensors",
      "model.embed_tokens.weight": "model-00001-of-00003.safetensors",
      "model.norm.weight": "model-00003-of-00003.safetensors"
    }
  }
)"));
  EXPECT_THAT(index.shards,
              ElementsAre("model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"));
  ASSERT_EQ(index.entries.size(), 3u);
  EXPECT_EQ(index.entries[0].tensor, "lm_head.weight");
  EXPECT_EQ(index.entries[0].shard_index, 1u);
  EXPECT_EQ(index.entries[1].shard_index, 0u);
  EXPECT_EQ(index.entries[2].shard_index, 1u);
  EXPECT_EQ(index.total_size, 2048u);
}

TEST(SafetensorsIndexTest, ReadsWhatTheTestWriterWrites) {
  const auto shards = SplitSpecs(LlamaSpecs(10'000'000), 4);
  ASSERT_OK_AND_ASSIGN(const SafetensorsIndex index, Parse(IndexText(shards)));
  EXPECT_EQ(index.shards.size(), 4u);
}

TEST(SafetensorsIndexTest, TakesTotalSizeOnlyWhereItIsAnInteger) {
  for (const char* metadata :
       {R"({})", R"({"total_size":1.5})", R"({"total_size":"7"})", R"({"total_size":{"a":7}})",
        R"({"x":{"total_size":7}})", R"([{"total_size":7}])", R"(null)", R"(7)"}) {
    ASSERT_OK_AND_ASSIGN(const SafetensorsIndex index,
                         Parse(absl::StrCat(R"({"metadata":)", metadata,
                                            R"(,"weight_map":{"w":"a.safetensors"}})")));
    EXPECT_FALSE(index.total_size.has_value()) << metadata;
  }
}

TEST(SafetensorsIndexTest, IgnoresUnknownKeys) {
  EXPECT_OK(Parse(R"({"x":[1,{"weight_map":{}}],"weight_map":{"w":"a.safetensors"},)"
                  R"("metadata":{"total_parameters":5,"format":"pt"},"y":null})"));
}

TEST(SafetensorsIndexTest, RefusesATensorThatOccursTwice) {
  ExpectInvalid(R"({"weight_map":{"w":"a.safetensors","w":"b.safetensors"}})",
                "tensor \"w\" occurs twice");
  ExpectInvalid(R"({"weight_map":{"w":"a.safetensors","\u0077":"a.safetensors"}})",
                "tensor \"w\" occurs twice");
  ExpectInvalid(R"({"weight_map":{"v":"a.safetensors","w":"a.safetensors","v":"a.safetensors"}})",
                "tensor \"v\" occurs twice");
  ExpectInvalid(R"({"weight_map":{"a":"a.safetensors","v":"a.safetensors","v":"a.safetensors"}})",
                "tensor \"v\" occurs twice");
}

TEST(SafetensorsIndexTest, AcceptsNamesAndShardsInAnyOrder) {
  ASSERT_OK_AND_ASSIGN(const SafetensorsIndex index,
                       Parse(R"({"weight_map":{"d":"z","a":"x","c":"z","b":"y","e":"x"}})"));
  EXPECT_THAT(index.shards, ElementsAre("x", "y", "z"));
  std::vector<std::string> entries;
  for (const SafetensorsIndex::Entry& entry : index.entries) {
    entries.push_back(absl::StrCat(entry.tensor, entry.shard_index));
  }
  EXPECT_THAT(entries, ElementsAre("d2", "a0", "c2", "b1", "e0"));
}

TEST(SafetensorsIndexTest, RefusesTheWrongTypes) {
  ExpectInvalid("[]", "wanted an object with weight_map");
  ExpectInvalid("3", "wanted an object with weight_map");
  ExpectInvalid(R"({"weight_map":[]})", "weight_map is an array");
  ExpectInvalid(R"({"weight_map":null})", "weight_map is null");
  ExpectInvalid(R"({"weight_map":"a.safetensors"})", "weight_map is the string");
  ExpectInvalid(OneShard("1"), "tensor \"w\" has the number 1");
  ExpectInvalid(OneShard("null"), "tensor \"w\" has null");
  ExpectInvalid(OneShard(R"(["a.safetensors"])"), "tensor \"w\" has an array");
  ExpectInvalid(OneShard(R"({"a":1})"), "tensor \"w\" has an object");
}

TEST(SafetensorsIndexTest, RefusesAMissingEmptyOrDoubledMap) {
  ExpectInvalid("{}", "no weight_map");
  ExpectInvalid(R"({"weight_map":{}})", "names no tensor");
  ExpectInvalid(R"({"weight_map":{"w":"a"},"weight_map":{"w":"a"}})", "weight_map occurs twice");
  ExpectInvalid(R"({"metadata":{},"metadata":{},"weight_map":{"w":"a"}})", "metadata occurs twice");
}

TEST(SafetensorsIndexTest, RefusesWhatIsNotJson) {
  ExpectInvalid("", "not valid JSON");
  ExpectInvalid(R"({"weight_map":{"w":"a.safetensors"}} x)", "not valid JSON");
  ExpectInvalid(R"({"weight_map":{"w":"a.safetensors"},})", "not valid JSON");
  ExpectInvalid("{\"weight_map\":{\"w\":\"\xFF\"}}", "not valid UTF-8");
  ExpectInvalid(std::string("{}\0", 3), "NUL");
  ExpectInvalid(absl::StrCat(R"({"x":)", std::string(200, '['), std::string(200, ']'), "}"),
                "nested deeper than 127 levels");
}

TEST(SafetensorsIndexTest, RefusesShardsThatAreNotPlainFileNames) {
  for (const char* name : {R"("../a.safetensors")", R"("..")", R"(".")", R"("")",
                           R"("/etc/passwd")", R"("sub/a.safetensors")", R"("a/../../b")",
                           R"("..\\a.safetensors")", R"("a\u0000b")", R"("a\nb")"}) {
    const auto result = Parse(OneShard(name));
    EXPECT_THAT(result,
                StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("tensor \"w\" lies in")));
    EXPECT_THAT(result, ReasonIs(Reason::kPathOutsideRoot, HasSubstr("wanted a plain file name")));
  }
  EXPECT_EQ(GetReason(Parse(OneShard(absl::StrCat("\"", std::string(256, 'a'), "\""))).status()),
            Reason::kPathOutsideRoot);
  EXPECT_OK(Parse(OneShard(R"("a..b.safetensors")")));
}

TEST(SafetensorsIndexTest, HoldsItsLimits) {
  const absl::string_view two = R"({"weight_map":{"v":"a.safetensors","w":"b.safetensors"}})";
  EXPECT_OK(Parse(two, {.tensors_max = 2, .shards_max = 2}));
  EXPECT_THAT(Parse(two, {.tensors_max = 1}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("more tensors than the 1")));
  EXPECT_THAT(Parse(two, {.shards_max = 1}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("more shards than the 1")));
  EXPECT_THAT(Parse(absl::StrCat(R"({"weight_map":{")", std::string(65'536, 'n'), R"(":"a"}})")),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("has a name of 65536 bytes")));
}

TEST(SafetensorsIndexTest, HoldsItsSize) {
  std::string text(kSafetensorsIndexBytesMax, ' ');
  const absl::string_view map = R"({"weight_map":{"w":"a.safetensors"}})";
  text.replace(0, map.size(), map.data(), map.size());
  EXPECT_OK(Parse(text));
  text.push_back(' ');
  EXPECT_THAT(Parse(text), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("67108864")));
}

TEST(SafetensorsIndexTest, ValidatesItsLimits) {
  EXPECT_OK(SafetensorsIndexLimits().Validate());
  EXPECT_THAT(SafetensorsIndexLimits{.tensors_max = 16'000'001}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensors_max")));
  EXPECT_THAT(SafetensorsIndexLimits{.shards_max = 0}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shards_max")));
}

}  // namespace
}  // namespace weightd::testing
