// .tensors files (CoreWeave Tensorizer's), end to end on host memory.

#include <xxhash.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/content_cases.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/checkpoints/tensors_text.h"
#include "tests/support/checkpoints/tensors_writer.h"
#include "tests/support/common/drop_from_cache.h"
#include "tests/support/common/read_file.h"
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
  packed.hashes = Hex("01 00 00");  // none
  TensorText meta;
  meta.name = "meta";
  meta.shape = {2, 3};
  meta.data = "";
  meta.hashes = packed.hashes;
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

// What everybody else computes: xxhsum -H128, and the xxhash package of Python.
TEST_F(TensorsTest, DigestsAreShown) {
  MakeModel("m", 4000);
  Start();
  EXPECT_EQ(ctl_.Json({"tensors", "m"})["tensors"][0]["xxh3_128"], "");
  Stage("m");
  for (const nlohmann::json& tensor : ctl_.Json({"tensors", "m"})["tensors"]) {
    const std::string bytes = ctl_.Run({"read", "m", tensor["name"]}).out;
    const XXH128_hash_t hash = ::XXH3_128bits(bytes.data(), bytes.size());
    EXPECT_EQ(tensor["xxh3_128"], absl::StrFormat("%016x%016x", hash.high64, hash.low64));
  }
  ctl_.Run({"evict", "m"});
  ctl_.Run({"stage", "m", "--wait", "--verify", "none"});
  EXPECT_EQ(ctl_.Json({"tensors", "m"})["tensors"][0]["xxh3_128"], "");
}

TEST_F(TensorsTest, DamagedDataIsFoundUnlessNobodyLooks) {
  TensorsOptions options;
  options.damaged = true;
  ASSERT_OK(WriteTensors(InRoot("t.tensors"), SmallTensorSpecs(3, 30'000), options));
  Start();
  for (const char* mode : {"fast", "full"}) {
    const CommandResult staged = ctl_.Run({"stage", "t", "--wait", "--verify", mode});
    EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
    EXPECT_THAT(staged.err, AllOf(HasSubstr("t.tensors"), HasSubstr("its CRC32 is")));
    EXPECT_EQ(UsedBytes(), 0);
  }
  EXPECT_EQ(EventsUntil("STAGE_FAILED").back()["reason"], "INTEGRITY_FAILED");
  EXPECT_EQ(ctl_.Run({"stage", "t", "--wait", "--verify", "none"}).exit_code, kExitOk);
}

TEST_F(TensorsTest, ReportSaysWhatWasCompared) {
  ASSERT_OK(WriteTensors(InRoot("t.tensors"), SmallTensorSpecs(3, 30'000)));
  Start({"--staging.verify", "FULL"});
  Stage("t");
  const nlohmann::json report = ctl_.Json({"stages"})["reports"][0];
  EXPECT_EQ(report["verify"], "FULL");
  EXPECT_EQ(report["hashes_checked"], 6);
}

// weightctl digest, then stages that are compared with what it wrote.
TEST_F(TensorsTest, DigestManifestIsCompared) {
  const std::string path = MakeModel("m", 40'000);
  const CommandResult written = ctl_.Run({"digest", path});
  EXPECT_EQ(written.exit_code, kExitOk) << written;
  EXPECT_THAT(written.out, HasSubstr("m.digests.json: 8 tensors"));
  Start();
  Stage("m");
  EXPECT_EQ(ctl_.Json({"stages"})["reports"][0]["digest_manifest"], "m.digests.json");
  // Other content of the same shape.
  MakeModel("m", 40'000, /*seed=*/2);
  const CommandResult staged = ctl_.Run({"stage", "m", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
  EXPECT_THAT(staged.err, AllOf(HasSubstr("compare with m.digests.json"), HasSubstr("XXH3-128")));
}

TEST_F(TensorsTest, ModelWithoutADigestManifestIsRefusedWhereOneIsRequired) {
  MakeModel("with", 4000);
  MakeModel("without", 4000);
  EXPECT_EQ(ctl_.Run({"digest", InRoot("with.safetensors")}).exit_code, kExitOk);
  Start({"--staging.require-digest", "true", "--staging.verify", "NONE"});
  Stage("with");
  EXPECT_EQ(ctl_.Json({"stages"})["reports"][0]["verify"], "FAST");
  const CommandResult refused = ctl_.Run({"stage", "without", "--wait"});
  EXPECT_EQ(refused.exit_code, kExitIntegrity) << refused;
  EXPECT_THAT(refused.err, HasSubstr("no digest manifest at without.digests.json"));
  EXPECT_EQ(EventsUntil("STAGE_FAILED").back()["reason"], "DIGEST_MISSING");
}

TEST_F(TensorsTest, BadDigestManifestsAreErrorsWithTheirPlace) {
  MakeModel("m", 4000);
  Start();
  const char* const bad[] = {"",
                             "{}",
                             "[]",
                             R"({"version":2,"xxh3_128":{}})",
                             R"({"version":1,"xxh3_128":{"t":"00"}})",
                             R"({"version":1,"xxh3_128":{}})"};
  for (const char* text : bad) {
    ASSERT_OK(WriteRawFile(InRoot("m.digests.json"), text));
    const CommandResult staged = ctl_.Run({"stage", "m", "--wait"});
    EXPECT_EQ(staged.exit_code, kExitIntegrity) << text << staged;
    EXPECT_THAT(staged.err, HasSubstr("m.digests.json"));
  }
}

TEST_F(TensorsTest, TensorizedCheckpointStagesAsOneRun) {
  ASSERT_OK(WriteSharded(dir_.File("source"), LlamaSpecs(24'000'000), 3));
  EXPECT_EQ(ctl_.Run({"tensorize", dir_.File("source"), InRoot("t.tensors")}).exit_code, kExitOk);
  Start();
  Stage("t");
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(dir_.File("source"))) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path().string());
  }
  ExpectSameAsFiles("t", files);
  EXPECT_EQ(ctl_.Json({"stages"})["reports"][0]["hashes_checked"], LlamaSpecs(24'000'000).size());
}

class EncryptedTest : public TensorsTest {
 protected:
  // Encrypted, and what it must be.
  std::string Write(const std::string& key, const std::string& password) {
    const std::vector<TensorSpec> specs = LlamaSpecs(4'000'000);
    TensorsOptions options;
    options.key = key;
    options.password = password;
    EXPECT_OK(WriteTensors(InRoot("secret.tensors"), specs, options));
    const std::string twin = dir_.File("twin.safetensors");
    EXPECT_OK(WriteSafetensors(twin, specs));
    return twin;
  }
  std::string SecretFile(const std::string& name, const std::string& text) {
    EXPECT_OK(WriteRawFile(dir_.File(name), text));
    return dir_.File(name);
  }
  const std::string key_ = std::string(31, 'k') + "\n";
};

TEST_F(EncryptedTest, KeyOfAFileIsReadWhenItIsNeeded) {
  const std::string twin = Write(key_, "");
  const std::string file = SecretFile("key", std::string(32, 'x'));
  Start({"--encryption.key-file", file});
  CommandResult staged = ctl_.Run({"stage", "secret", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
  EXPECT_THAT(staged.err, HasSubstr("the key is not the file's, or the data was changed"));
  SecretFile("key", key_);
  Stage("secret");
  ExpectSameAsFiles("secret", {twin});
  SecretFile("key", "too short");
  staged = ctl_.Run({"stage", "secret", "--wait", "--restage"});
  EXPECT_NE(staged.exit_code, kExitOk);
  EXPECT_THAT(staged.err, HasSubstr("wanted 32 bytes or 64 hexadecimal digits"));
  StopCleanly();
  EXPECT_EQ(daemon_->log().find("too short"), std::string::npos);
}

TEST_F(EncryptedTest, KeyOfTheEnvironmentIsTakenOutOfIt) {
  std::string hex;
  for (const char c : key_) hex += absl::StrFormat("%02x", static_cast<unsigned char>(c));
  const std::string twin = Write(key_, "");
  Start({"--encryption.key-environment", "THE_KEY"}, {"THE_KEY=" + hex});
  Stage("secret");
  ExpectSameAsFiles("secret", {twin});
  const std::string environment = ReadFile(absl::StrCat("/proc/", daemon_->pid(), "/environ"));
  EXPECT_NE(environment, "");
  EXPECT_EQ(environment.find(hex), std::string::npos);
  StopCleanly();
  EXPECT_EQ(daemon_->log().find(hex), std::string::npos);
}

TEST_F(EncryptedTest, PasswordIsMadeAKey) {
  const std::string twin = Write("", "open sesame");
  Start({"--encryption.password-file", SecretFile("password", "open sesame\n")});
  Stage("secret");
  ExpectSameAsFiles("secret", {twin});
}

TEST_F(EncryptedTest, WithoutAKeyItIsRefusedBeforeMemoryIsTaken) {
  Write(key_, "");
  Start();
  const CommandResult staged = ctl_.Run({"stage", "secret", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitError) << staged;
  EXPECT_THAT(staged.err, HasSubstr("encryption.key_file"));
  EXPECT_EQ(EventsUntil("STAGE_FAILED").back()["reason"], "KEY_MISSING");
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
