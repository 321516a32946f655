#include "client/cli/json.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(JsonTest, Writes64BitIntegersAsIntegers) {
  v1::Tensor tensor;
  tensor.set_name("w");
  tensor.set_dtype(v1::BF16);
  tensor.add_shape(std::numeric_limits<uint64_t>::max());
  tensor.set_bytes((uint64_t{1} << 53) + 1);
  EXPECT_EQ(JsonLine(ToJson(tensor)),
            R"({"name":"w","dtype":"BF16","shape":[18446744073709551615],)"
            R"("allocation_index":0,"offset":0,"bytes":9007199254740993,"torch_dtype":"",)"
            R"("kind":"TENSOR_KIND_UNSPECIFIED","xxh3_128":""})"
            "\n");
}

TEST(JsonTest, KeepsFieldsInTheirOrderAndWithTheirDefaults) {
  EXPECT_EQ(JsonLine(ToJson(v1::EvictModelResponse())),
            R"({"bytes_freed":0,"generations":0,"bytes_demoted":0,"leases_revoked":0})"
            "\n");
  EXPECT_EQ(JsonLine(ToJson(v1::ListModelsResponse())),
            R"({"models":[],"roots":[],"next_page_token":""})"
            "\n");
}

TEST(JsonTest, WritesTimesAsRfc3339AndLeavesUnsetOnesOut) {
  v1::Generation generation;
  EXPECT_FALSE(ToJson(generation).contains("resident_time"));
  generation.mutable_resident_time()->set_seconds(1'700'000'000);
  generation.mutable_report()->mutable_read_time()->set_nanos(250'000'000);
  const nlohmann::ordered_json json = ToJson(generation);
  EXPECT_EQ(json["resident_time"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(json["report"]["read_time"], "0.250s");
}

TEST(JsonTest, WritesEnumsByNameAndUnknownOnesSafely) {
  v1::Generation generation;
  generation.set_state(v1::RESIDENT);
  EXPECT_EQ(ToJson(generation)["state"], "RESIDENT");
  generation.set_state(static_cast<v1::ResidencyState>(77));
  EXPECT_TRUE(ToJson(generation)["state"].is_string());
}

TEST(JsonTest, WritesMapsAsObjects) {
  v1::GetModelResponse response;
  (*response.mutable_metadata())["format"] = "pt";
  EXPECT_EQ(ToJson(response)["metadata"].dump(), "{\"format\":\"pt\"}");
}

// Handles grant access: they must not end up in a terminal or a log.
TEST(JsonTest, NeverPrintsHandles) {
  v1::Granted granted;
  granted.set_fd_ticket("0123456789abcdef");
  granted.add_allocations()->set_cuda_ipc_handle("secret");
  const std::string text = JsonDocument(ToJson(granted));
  EXPECT_THAT(text, Not(HasSubstr("ticket")));
  EXPECT_THAT(text, Not(HasSubstr("0123456789abcdef")));
  EXPECT_THAT(text, Not(HasSubstr("secret")));
}

TEST(JsonTest, WritesOnlyTheMemberOfAOneofThatIsSet) {
  v1::AttachResponse response;
  response.mutable_superseded()->set_generation_id(2);
  EXPECT_EQ(JsonLine(ToJson(response)), "{\"superseded\":{\"generation_id\":2}}\n");
}

TEST(JsonTest, ReplacesWhatIsNotUtf8) {
  v1::Model model;
  model.set_name("a\xff");
  EXPECT_THAT(JsonLine(ToJson(model)), HasSubstr("\"name\":\"a\xef\xbf\xbd\""));
}

}  // namespace
}  // namespace weightd::cli
