// Every byte of every tensor, compared with the file by another process.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/align.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/content_cases.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/drop_from_cache.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/has_uring.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Values;

// By engine, as --storage.engine names it and as the report does.
struct Engine {
  const char* flag;
  const char* name;
};

class HostContentTest : public DaemonTest, public ::testing::WithParamInterface<Engine> {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    if (GetParam().flag == std::string("URING") && !HasUring()) GTEST_SKIP() << "no io_uring here";
  }
  void StartEngine() { Start({"--storage.engine", GetParam().flag}); }
  // The same, with the files on the volume alone.
  void StartEngineCold(const ContentCase& content) {
    for (const std::string& file : content.files) ASSERT_TRUE(DropFromPageCache(file)) << file;
    StartEngine();
  }
  nlohmann::json ReportOf(const std::string& model) const {
    return ctl_.Json({"describe", model})["model"]["generations"][0]["report"];
  }
};

TEST_P(HostContentTest, SingleFileArrivesWhole) {
  const ContentCase content = SingleFile(root_);
  StartEngineCold(content);
  Stage(content.model);
  const nlohmann::json report = ReportOf(content.model);
  EXPECT_EQ(report["engine"], GetParam().name);
  EXPECT_EQ(report["direct_bytes"], report["bytes_read"]) << "the test's file system has O_DIRECT";
  ExpectSameAsFiles(content.model, content.files);
  StopCleanly();
}

// A file that was just written is in the page cache.
TEST_P(HostContentTest, CachedFileArrivesWhole) {
  const ContentCase content = SingleFile(root_);
  StartEngine();
  Stage(content.model);
  const nlohmann::json report = ReportOf(content.model);
  EXPECT_EQ(report["cached_bytes"], report["bytes_read"]) << "cachestat(2) tells here";
  if (::geteuid() == 0) {
    EXPECT_EQ(report["fallbacks"], nlohmann::json::array());
  }
  for (const std::string fallback : report["fallbacks"]) {
    // A user's limit for locked memory (8 MiB on Debian) is shared by all that he runs.
    EXPECT_THAT(fallback, HasSubstr("raise RLIMIT_MEMLOCK"));
  }
  ExpectSameAsFiles(content.model, content.files);
}

TEST_P(HostContentTest, ShardsWithIndexArriveWhole) {
  const ContentCase content = Shards(root_);
  StartEngineCold(content);
  Stage(content.model);
  ExpectSameAsFiles(content.model, content.files);
}

TEST_P(HostContentTest, HubCacheArrivesWhole) {
  const ContentCase content = HubCache(root_);
  StartEngineCold(content);
  Stage(content.model);
  const std::unique_ptr<AttachProbe> probe = Attach(content.model, content.files);
  EXPECT_THAT(probe->Attached(), HasSubstr(absl::StrCat("revision=", kHubRevision)));
  EXPECT_THAT(probe->Compare(), HasSubstr("same "));
}

TEST_P(HostContentTest, MisalignedTensorsAreMovedAndArriveWhole) {
  const ContentCase content = Misaligned(root_);
  StartEngineCold(content);
  Stage(content.model);
  EXPECT_GT(ReportOf(content.model)["tensors_moved"], 0);
  ExpectSameAsFiles(content.model, content.files);
}

TEST_P(HostContentTest, TenThousandTensorsArriveWhole) {
  const ContentCase content = ManyTensors(root_);
  StartEngineCold(content);
  Stage(content.model);
  ExpectSameAsFiles(content.model, content.files);
}

TEST_P(HostContentTest, ScalarsEmptyTensorsAndAllDtypesArriveWhole) {
  const ContentCase content = AllDtypes(root_);
  StartEngineCold(content);
  Stage(content.model);
  ExpectSameAsFiles(content.model, content.files);
}

TEST_P(HostContentTest, ModelWithoutATensorIsStagedAndAttached) {
  const ContentCase content = NoTensors(root_);
  StartEngineCold(content);
  Stage(content.model);
  ExpectSameAsFiles(content.model, content.files);
}

// What an operator reads with weightctl, without a line of our test's client.
TEST_P(HostContentTest, WeightctlReadsATensorsBytes) {
  const std::vector<TensorSpec> specs = SmallTensorSpecs(3, 3'000'000);
  ASSERT_OK(WriteSafetensors(InRoot("m.safetensors"), specs));
  StartEngine();
  Stage("m");
  const CommandResult read = ctl_.Run({"read", "m", specs[1].name});
  EXPECT_EQ(read.exit_code, kExitOk) << read.err;
  ASSERT_EQ(read.out.size(), SpecBytes(specs[1]));
  EXPECT_EQ(FindWrongByte(1, specs[1].name, 0,
                          {reinterpret_cast<const std::byte*>(read.out.data()), read.out.size()}),
            -1);
}

INSTANTIATE_TEST_SUITE_P(Engines, HostContentTest,
                         Values(Engine{"URING", "io_uring"}, Engine{"PREAD", "pread"}),
                         [](const auto& test) { return std::string(test.param.flag); });

// Whether the other tests could fail: the judge must see one other byte, at either end.
TEST_F(DaemonTest, JudgeSeesASingleOtherByte) {
  const std::string path = MakeModel("model", 3'000'000);
  Start();
  Stage("model");
  const std::string other = dir_.File("other.safetensors");
  const uint64_t bytes = std::filesystem::file_size(path);
  for (const uint64_t place : {bytes - 3'000'000, bytes - 1}) {
    std::filesystem::copy_file(path, other, std::filesystem::copy_options::overwrite_existing);
    std::fstream file(other, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(place));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(place));
    file.put(static_cast<char>(byte ^ 1));
    file.close();
    EXPECT_THAT(Attach("model", {other})->Compare(), HasSubstr("different "));
  }
  ExpectSameAsFiles("model", {path});
}

// The size of a model that people serve: offsets beyond 31 bits, many blocks, four files.
TEST_F(DaemonTest, LlamaOfTwoGibibytesInFourShardsArrivesWhole) {
  constexpr uint64_t kShards = 4;
  const std::vector<TensorSpec> specs = LlamaSpecs(2 * kGiB);
  ASSERT_OK(WriteSharded(InRoot("llama"), specs, kShards));
  std::vector<std::string> files;
  for (uint64_t i = 0; i < kShards; ++i) {
    files.push_back(InRoot(absl::StrCat("llama/", ShardName(i, kShards))));
  }
  Start();
  Stage("llama");
  ExpectSameAsFiles("llama", files);
  EXPECT_THAT(ctl_.Run({"describe", "llama"}).out, HasSubstr("2.1 GB"));
}

TEST_F(DaemonTest, RootsAreSearchedInTheirOrder) {
  const std::string second = dir_.File("second");
  const std::string kept = MakeModel("both", 1 << 20, 1);
  const std::vector<TensorSpec> specs = SmallTensorSpecs(8, 1 << 20);
  ASSERT_OK(WriteSafetensors(second + "/both.safetensors", specs, {.seed = 2}));
  ASSERT_OK(WriteSafetensors(second + "/nested/only/model.safetensors", specs, {.seed = 3}));
  Start({"--root", second});
  Stage("both");
  Stage("nested/only");
  ExpectSameAsFiles("both", {kept});
  ExpectSameAsFiles("nested/only", {second + "/nested/only/model.safetensors"});
}

}  // namespace
}  // namespace weightd::testing
