// SHA-256s of whole files, end to end.

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/checkpoints/tensors_writer.h"
#include "tests/support/common/read_file.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/child_process.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class FileSumsTest : public DaemonTest {};

// As publishers make it, in the folder of the model.
std::string Sha256Sums(const std::string& directory, const std::string& files) {
  ChildProcess child(
      {.argv = {"/bin/sh", "-c", absl::StrCat("cd '", directory, "' && sha256sum ", files)}});
  EXPECT_EQ(child.WaitForExit(), 0) << child.err();
  return child.out();
}

TEST_F(FileSumsTest, ListOfSha256sIsComparedWhenAskedFor) {
  const std::string folder = InRoot("m");
  ASSERT_OK(WriteSharded(folder, SmallTensorSpecs(12, 50'000), 2));
  ASSERT_OK(WriteTensors(InRoot("t.tensors"), SmallTensorSpecs(3, 30'000)));
  ASSERT_OK(WriteRawFile(folder + "/SHA256SUMS", Sha256Sums(folder, "*.safetensors *.json")));
  ASSERT_OK(WriteRawFile(InRoot("SHA256SUMS"), Sha256Sums(root_, "t.tensors")));
  Start();
  EXPECT_EQ(ctl_.Run({"stage", "m", "--wait", "--verify", "full"}).exit_code, kExitOk);
  EXPECT_EQ(ctl_.Run({"stage", "t", "--wait", "--verify", "full"}).exit_code, kExitOk);
  const nlohmann::json reports = ctl_.Json({"stages"})["reports"];
  EXPECT_EQ(reports[0]["files_checked"], 1);
  EXPECT_EQ(reports[1]["files_checked"], 2);
  EXPECT_THAT(ctl_.Run({"describe", "t"}).out,
              HasSubstr("FULL, hashes of tensors: 6, SHA-256s of files: 1"));

  // Bytes that no tensor has. Who asks for less does not see it.
  const std::string shard = folder + "/model-00002-of-00002.safetensors";
  std::string bytes = ReadFile(shard);
  const size_t metadata = bytes.find("\"pt\"");
  ASSERT_NE(metadata, std::string::npos);
  bytes[metadata + 1] = 'q';
  ASSERT_OK(WriteRawFile(shard, bytes));
  const CommandResult staged = ctl_.Run({"stage", "m", "--wait", "--verify", "full"});
  EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
  EXPECT_THAT(staged.err, AllOf(HasSubstr("model-00002-of-00002.safetensors: its SHA-256 is"),
                                HasSubstr("m/SHA256SUMS says")));
  EXPECT_EQ(ctl_.Run({"stage", "m", "--wait"}).exit_code, kExitOk);
  ASSERT_OK(WriteRawFile(folder + "/SHA256SUMS", "no list\n"));
  EXPECT_THAT(ctl_.Run({"stage", "m", "--wait", "--restage", "--verify", "full"}).err,
              HasSubstr("m/SHA256SUMS: line 1: is \"no list\""));
}

// Opening it would wait for somebody who writes.
TEST_F(FileSumsTest, WhatIsNoFileIsTold) {
  const std::string folder = InRoot("m");
  ASSERT_OK(WriteSharded(folder, SmallTensorSpecs(2, 1'000), 1));
  ASSERT_EQ(::mkfifo((folder + "/SHA256SUMS").c_str(), 0600), 0);
  Start();
  const CommandResult staged = ctl_.Run({"stage", "m", "--wait", "--verify", "full"});
  EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
  EXPECT_THAT(staged.err, HasSubstr("m/SHA256SUMS: not a regular file but a FIFO"));
  EXPECT_TRUE(daemon_->WaitForLog("reason=CHECKPOINT_INVALID")) << daemon_->log();
}

// A Hugging Face hub cache: large files are blobs that are called by their SHA-256.
TEST_F(FileSumsTest, NamesOfBlobsAreComparedWhenAskedFor) {
  const std::string repository = InRoot("models--org--name");
  const std::string snapshot = repository + "/snapshots/0123456789abcdef0123456789abcdef01234567";
  const std::string staged_path = dir_.File("model.safetensors");
  ASSERT_OK(WriteSafetensors(staged_path, SmallTensorSpecs(3, 30'000)));
  const std::string name = Sha256Sums(dir_.path(), "model.safetensors").substr(0, 64);
  std::filesystem::create_directories(snapshot);
  std::filesystem::create_directories(repository + "/blobs");
  const std::string blob = absl::StrCat(repository, "/blobs/", name);
  std::filesystem::rename(staged_path, blob);
  std::filesystem::create_symlink("../../blobs/" + name, snapshot + "/model.safetensors");
  Start({"--staging.verify", "FULL"});
  Stage("org/name");
  EXPECT_EQ(ctl_.Json({"stages"})["reports"][0]["files_checked"], 1);
  std::string bytes = ReadFile(blob);
  bytes.back() ^= 1;
  ASSERT_OK(WriteRawFile(blob, bytes));
  const CommandResult staged = ctl_.Run({"stage", "org/name", "--wait"});
  EXPECT_EQ(staged.exit_code, kExitIntegrity) << staged;
  EXPECT_THAT(staged.err, HasSubstr("the name of its blob says " + name));
}

}  // namespace
}  // namespace weightd::testing
