// .tensors files (CoreWeave Tensorizer's), end to end on host memory.

#include <string>

#include "gmock/gmock.h"
#include "tests/integration/daemon/content_cases.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/checkpoints/tensors_text.h"
#include "tests/support/checkpoints/tensors_writer.h"
#include "tests/support/common/drop_from_cache.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Values;

struct Case {
  const char* name;
  ContentCase (*make)(const std::string& root);
  const char* engine;
};

class TensorsContentTest : public DaemonTest, public ::testing::WithParamInterface<Case> {};

TEST_P(TensorsContentTest, ArrivesWhole) {
  const ContentCase content = GetParam().make(root_);
  Start({"--storage.engine", GetParam().engine});
  Stage(content.model);
  ExpectSameAsFiles(content.model, content.files);
  StopCleanly();
}

INSTANTIATE_TEST_SUITE_P(
    Files, TensorsContentTest,
    Values(Case{"Plain", Tensors, "AUTO"}, Case{"PlainPread", Tensors, "PREAD"},
           Case{"Aligned", TensorsAligned, "AUTO"}, Case{"Shards", TensorsShards, "AUTO"},
           Case{"WithoutIndex", TensorsWithoutIndex, "AUTO"},
           Case{"ManySmall", TensorsManySmall, "AUTO"}, Case{"Dtypes", TensorsDtypes, "AUTO"},
           Case{"DtypesPread", TensorsDtypes, "PREAD"}),
    [](const auto& test) { return std::string(test.param.name); });

class TensorsTest : public DaemonTest {};

// A torch type that nobody else has, a meta tensor, a buffer.
TEST_F(TensorsTest, ShowsWhatOnlySuchFilesHave) {
  TensorText packed;
  packed.name = "packed";
  packed.kind = 1;
  packed.dtype = std::string("|V1\0torch.uint4", 15);
  packed.shape = {8};
  TensorText meta;
  meta.name = "meta";
  meta.shape = {2, 3};
  meta.data = "";
  ASSERT_OK(WriteRawFile(InRoot("t.tensors"), FileText({packed, meta}, 4)));
  Start();
  Stage("t");
  const nlohmann::json tensors = ctl_.Json({"tensors", "t"})["tensors"];
  ASSERT_EQ(tensors.size(), 2);
  EXPECT_EQ(tensors[0]["name"], "meta");
  EXPECT_EQ(tensors[0]["bytes"], 24);
  EXPECT_EQ(tensors[1]["dtype"], "OPAQUE8");
  EXPECT_EQ(tensors[1]["torch_dtype"], "torch.uint4");
  EXPECT_EQ(tensors[1]["kind"], "BUFFER");
  EXPECT_THAT(ctl_.Run({"tensors", "t"}).out, HasSubstr("torch.uint4"));
  EXPECT_EQ(ctl_.Run({"read", "t", "meta"}).out, std::string(24, '\0'));
  EXPECT_EQ(ctl_.Run({"read", "t", "packed"}).out, std::string(8, 'd'));
}

TEST_F(TensorsTest, SafetensorsOfTheSameNameIsPreferred) {
  ASSERT_OK(WriteTensors(InRoot("m.tensors"), SmallTensorSpecs(2, 1000)));
  const std::string path = MakeModel("m", 4000);
  Start();
  Stage("m");
  ExpectSameAsFiles("m", {path});
}

TEST_F(TensorsTest, BadFileIsRefusedBeforeMemoryIsTakenAndTheDaemonGoesOn) {
  TensorText tensor;
  std::string bad = FileText({tensor});
  bad.replace(bad.size() - 24, 8, Le(~uint64_t{0}));  // the header's data length
  ASSERT_OK(WriteRawFile(InRoot("bad.tensors"), bad));
  const std::string good = MakeModel("good", 4000);
  Start();
  const CommandResult staged = ctl_.Run({"stage", "bad", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
  EXPECT_THAT(staged.err, AllOf(HasSubstr("bad.tensors"), HasSubstr("is negative (-1)")));
  EXPECT_EQ(UsedBytes(), 0);
  Stage("good");
  ExpectSameAsFiles("good", {good});
}

}  // namespace
}  // namespace weightd::testing
