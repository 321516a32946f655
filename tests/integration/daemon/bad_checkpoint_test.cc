// Checkpoints that are wrong on the volume: what weightctl says, and that the daemon goes on.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Values;

struct BadCheckpoint {
  const char* name;
  std::function<void(const std::string& root)> make;
  std::vector<std::string> says;  // in weightctl's message
  const char* model = "bad";
  int exit_code = kExitIntegrity;
};

void PrintTo(const BadCheckpoint& bad, std::ostream* out) { *out << bad.name; }

void Write(const std::string& root, absl::string_view header, size_t data_bytes) {
  EXPECT_OK(WriteRawFile(root + "/bad.safetensors",
                         SafetensorsPrefix(header) + std::string(data_bytes, '\1')));
}

// A header length and nothing of what it promises.
void WriteLength(const std::string& root, uint64_t length) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(length >> (8 * i));
  EXPECT_OK(WriteRawFile(root + "/bad.safetensors", bytes + "{}"));
}

// Two shards with an index; `change` gets the index's text.
void WriteShards(const std::string& root, const std::function<std::string(std::string)>& change) {
  const std::vector<TensorSpec> specs = {{"first", Dtype::kF32, {4}}, {"second", Dtype::kF32, {4}}};
  EXPECT_OK(WriteSharded(root + "/bad", specs, 2));
  EXPECT_OK(WriteRawFile(root + "/bad/model.safetensors.index.json",
                         change(IndexText(SplitSpecs(specs, 2)))));
}

std::string SameIndex(std::string text) { return text; }

const BadCheckpoint kBadFiles[] = {
    {"TruncatedFile",
     [](const std::string& root) {
       EXPECT_OK(WriteSafetensors(root + "/bad.safetensors", SmallTensorSpecs(4, 1 << 20)));
       std::filesystem::resize_file(root + "/bad.safetensors", 1'000'000);
     },
     {"bad.safetensors", "1048576", "cut off"}},
    {"FileTooShortForALength",
     [](const std::string& root) { EXPECT_OK(WriteRawFile(root + "/bad.safetensors", "abc")); },
     {"bad.safetensors", "3 bytes", "at least 8"}},
    {"HeaderLongerThanTheFile",
     [](const std::string& root) { WriteLength(root, 4096); },
     {"bad.safetensors", "4096", "only 2 are left"}},
    {"HeaderAbove100MB",
     [](const std::string& root) { WriteLength(root, 100'000'001); },
     {"bad.safetensors", "100000001", "at most 100000000"}},
    {"HeaderLengthOfAllOnes",
     [](const std::string& root) { WriteLength(root, UINT64_MAX); },
     {"bad.safetensors", "at most 100000000"}},
    {"InvalidJson",
     [](const std::string& root) { Write(root, R"({"a": {"dtype": "F32", "shape": [1], !})", 4); },
     {"bad.safetensors", " at 46", "not valid JSON"}},
    {"TrailingData",
     [](const std::string& root) {
       Write(root, R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8);
     },
     {"bad.safetensors", "8 bytes", "too long"}},
    {"DuplicateTensor",
     [](const std::string& root) {
       Write(root,
             R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
             R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
             8);
     },
     {"bad.safetensors", "\"a\"", "occurs twice"}},
    {"OverlappingTensors",
     [](const std::string& root) {
       Write(root,
             R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
             R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
             12);
     },
     {"bad.safetensors", "\"b\"", "[4,12]", "overlaps", "from 8"}},
    {"HoleBetweenTensors",
     [](const std::string& root) {
       Write(root,
             R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
             R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
             12);
     },
     {"bad.safetensors", "\"b\"", "[8,12]", "hole", "from 4"}},
    {"ShapeDisagreesWithTheLength",
     [](const std::string& root) {
       Write(root, R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8);
     },
     {"bad.safetensors", "\"a\"", "8 bytes", "wanted 12"}},
    {"ProductOverflows",
     [](const std::string& root) {
       Write(root, R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
             0);
     },
     {"bad.safetensors", "\"a\"", "overflows 64 bits"}},
    {"UnknownDtype",
     [](const std::string& root) {
       Write(root, R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4);
     },
     {"bad.safetensors", "\"a\"", "unknown dtype", "F31"}},
};

const BadCheckpoint kBadIndexes[] = {
    {"MissingShard",
     [](const std::string& root) {
       WriteShards(root, SameIndex);
       std::filesystem::remove(root + "/bad/model-00002-of-00002.safetensors");
     },
     {"bad/model-00002-of-00002.safetensors", "no such file", "second",
      "bad/model.safetensors.index.json"}},
    {"IndexNamesATensorTwice",
     [](const std::string& root) {
       WriteShards(root, [](const std::string& text) {
         return absl::StrReplaceAll(text, {{"\"second\"", "\"first\""}});
       });
     },
     {"bad/model.safetensors.index.json", "\"first\"", "occurs twice"}},
    {"IndexPutsATensorIntoTheWrongShard",
     [](const std::string& root) {
       WriteShards(root, [](const std::string& text) {
         return absl::StrReplaceAll(text, {{"00001-of", "00002-of"}, {"00002-of", "00001-of"}});
       });
     },
     {"bad/model.safetensors.index.json", "\"first\""}},
    {"IndexLeavesItsDirectory",
     [](const std::string& root) {
       WriteShards(root, [](const std::string& text) {
         return absl::StrReplaceAll(text, {{"model-00002", "../model-00002"}});
       });
     },
     {"bad/model.safetensors.index.json", "../model-00002", "plain file name"},
     "bad",
     kExitError},
    {"IndexIsNotJson",
     [](const std::string& root) {
       WriteShards(root, [](const std::string&) { return "{\"weight_map\": "; });
     },
     {"bad/model.safetensors.index.json", "not valid JSON"}},
};

const BadCheckpoint kBadNames[] = {
    {"NameWithDotDot", [](const std::string&) {}, {"../bad", ".."}, "../bad", kExitError},
    {"AbsoluteName",
     [](const std::string&) {},
     {"/etc/passwd", "absolute"},
     "/etc/passwd",
     kExitError},
    {"AbsoluteSymlinkOutOfTheRoot",
     [](const std::string& root) {
       const std::string outside = root + ".outside.safetensors";
       EXPECT_OK(WriteSafetensors(outside, SmallTensorSpecs(1, 100)));
       std::filesystem::create_symlink(outside, root + "/bad.safetensors");
     },
     {"bad.safetensors", "leads out of"},
     "bad",
     kExitError},
    {"UnknownModel",
     [](const std::string&) {},
     {"goood", "no such checkpoint", "did you mean good"},
     "goood",
     kExitNotFound},
};

class BadCheckpointTest : public DaemonTest, public ::testing::WithParamInterface<BadCheckpoint> {};

TEST_P(BadCheckpointTest, IsRefusedWithItsPlaceAndTheDaemonGoesOn) {
  const BadCheckpoint& bad = GetParam();
  const std::string good = MakeModel("good", 1 << 20);
  bad.make(root_);
  Start();
  const CommandResult staged = ctl_.Run({"stage", bad.model, "--wait"});
  EXPECT_EQ(staged.exit_code, bad.exit_code) << staged;
  for (const std::string& text : bad.says) EXPECT_THAT(staged.err, HasSubstr(text));
  EXPECT_EQ(staged.out, "");
  EXPECT_EQ(UsedBytes(), 0);
  EXPECT_EQ(ctl_.Json({"ps"})["models"].size(), 0) << "nothing is left behind";

  Stage("good");
  ExpectSameAsFiles("good", {good});
  EXPECT_EQ(ctl_.Run({"evict", "good"}).exit_code, kExitOk);
  EXPECT_EQ(UsedBytes(), 0);
  StopCleanly();
}

std::string NameOf(const ::testing::TestParamInfo<BadCheckpoint>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Files, BadCheckpointTest, ::testing::ValuesIn(kBadFiles), NameOf);
INSTANTIATE_TEST_SUITE_P(Indexes, BadCheckpointTest, ::testing::ValuesIn(kBadIndexes), NameOf);
INSTANTIATE_TEST_SUITE_P(Names, BadCheckpointTest, ::testing::ValuesIn(kBadNames), NameOf);

}  // namespace
}  // namespace weightd::testing
