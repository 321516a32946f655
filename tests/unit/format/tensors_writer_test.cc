#include "daemon/format/tensors_writer.h"

#include <string>
#include <vector>

#include "tests/support/common/status_matchers.h"
#include "tests/unit/format/parse_tensors.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

std::vector<TensorToWrite> SomeTensors() {
  std::vector<TensorToWrite> tensors;
  const auto add = [&](std::string name, Dtype dtype, Shape shape, std::string torch_dtype = "") {
    TensorToWrite& tensor = tensors.emplace_back();
    tensor.name = std::move(name);
    tensor.dtype = dtype;
    tensor.torch_dtype = std::move(torch_dtype);
    tensor.shape = std::move(shape);
  };
  add("model.layers.0.w", Dtype::kBf16, {3, 5});
  add("scalar", Dtype::kF64, {});
  add("empty", Dtype::kI32, {4, 0});
  add("\x1e strange \"", Dtype::kBool, {7});
  add("packed", Dtype::kOpaque8, {2, 2}, "torch.uint4");
  return tensors;
}

// The file of a plan, its data 'd'.
std::string Written(const std::vector<TensorToWrite>& tensors, const TensorsPlan& plan) {
  std::string file = plan.beginning;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorPlace& place = plan.places[i];
    EXPECT_EQ(place.header_offset, file.size());
    file += TensorHeaderText(tensors[i], place);
    EXPECT_EQ(place.data_offset(), file.size());
    file += std::string(place.data_bytes, 'd');
  }
  EXPECT_EQ(plan.terminator_offset, file.size());
  return file + std::string(8, '\0');
}

TEST(TensorsWriterTest, ParserReadsWhatItWrites) {
  const std::vector<TensorToWrite> tensors = SomeTensors();
  for (const uint64_t alignment : {1, 256, 4096}) {
    ASSERT_OK_AND_ASSIGN(const TensorsPlan plan, PlanTensorsFile(tensors, alignment));
    const std::string file = Written(tensors, plan);
    EXPECT_EQ(plan.file_bytes(), file.size());
    ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(file));
    ASSERT_EQ(header.tensors.size(), tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(header.tensors[i].name, tensors[i].name);
      EXPECT_EQ(header.tensors[i].dtype, tensors[i].dtype);
      EXPECT_EQ(header.tensors[i].shape, tensors[i].shape);
      EXPECT_EQ(header.stored[i].torch_dtype, tensors[i].torch_dtype);
      EXPECT_EQ(plan.places[i].data_offset() % alignment, 0);
      EXPECT_EQ(header.tensors[i].offset + header.shard.data_offset, plan.places[i].data_offset());
    }
  }
}

TEST(TensorsWriterTest, UnpaddedHeadersHaveTheReferenceWritersLength) {
  const std::vector<TensorToWrite> tensors = SomeTensors();
  ASSERT_OK_AND_ASSIGN(const TensorsPlan plan, PlanTensorsFile(tensors, 1));
  // 66 + L + D + 4 N
  EXPECT_EQ(plan.places[0].header_bytes, 66 + 16 + 18 + 4 * 2);
  EXPECT_EQ(plan.places[1].header_bytes, 66 + 6 + 3);
}

TEST(TensorsWriterTest, VersionIsTheLowestThatHasTheDtypes) {
  TensorToWrite tensor;
  tensor.name = "w";
  tensor.dtype = Dtype::kF32;
  ASSERT_OK_AND_ASSIGN(TensorsPlan plan, PlanTensorsFile({tensor}));
  EXPECT_EQ(plan.beginning[5], 1);
  tensor.dtype = Dtype::kBf16;
  ASSERT_OK_AND_ASSIGN(plan, PlanTensorsFile({tensor}));
  EXPECT_EQ(plan.beginning[5], 2);
}

TEST(TensorsWriterTest, IndexGrowsBeyondTheReferenceWriters) {
  std::vector<TensorToWrite> tensors(10'000);
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].name = absl::StrCat("tensor ", i);
  ASSERT_OK_AND_ASSIGN(const TensorsPlan plan, PlanTensorsFile(tensors));
  EXPECT_GT(plan.beginning.size(), 73 + kTensorsIndexBytesMin);
  ASSERT_OK_AND_ASSIGN(const ShardHeader header, ParseTensors(Written(tensors, plan)));
  EXPECT_EQ(header.tensors.size(), 10'000);
}

TEST(TensorsWriterTest, RefusesWhatTheFormatCannotHold) {
  const auto refusal = [](const TensorToWrite& tensor) {
    return std::string(PlanTensorsFile({tensor}).status().message());
  };
  TensorToWrite good;
  good.name = "w";
  ASSERT_OK(PlanTensorsFile({good}));
  TensorToWrite bad = good;
  bad.dtype = Dtype::kF4;
  EXPECT_THAT(refusal(bad), HasSubstr("tensor \"w\": dtype F4"));
  bad = good;
  bad.name = "";
  EXPECT_THAT(refusal(bad), HasSubstr("a name of 0 bytes"));
  bad.name = std::string(65'536, 'n');
  EXPECT_THAT(refusal(bad), HasSubstr("a name of 65536 bytes"));
  bad = good;
  bad.shape = {uint64_t{1} << 32, 0};
  EXPECT_THAT(refusal(bad), HasSubstr("a dimension of 4294967296"));
  bad.shape = Shape(256, 1);
  EXPECT_THAT(refusal(bad), HasSubstr("256 dimensions"));
  EXPECT_THAT(PlanTensorsFile({good, good}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("occurs twice")));
  EXPECT_THAT(PlanTensorsFile({}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("needs")));
  for (const uint64_t alignment : {0, 3, 8192}) {
    EXPECT_THAT(PlanTensorsFile({good}, alignment),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("power of two")));
  }
}

}  // namespace
}  // namespace weightd::testing
