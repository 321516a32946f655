#include "convert/convert.h"

#include <sys/resource.h>

#include <algorithm>
#include <csignal>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/thread.h"
#include "daemon/format/digest_manifest.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/checkpoints/tensors_text.h"
#include "tests/support/checkpoints/tensors_writer.h"
#include "tests/support/common/read_file.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Names(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class ConvertTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return dir_.File(name); }
  std::string MakeSafetensors(const std::string& name, const std::vector<TensorSpec>& specs) const {
    EXPECT_OK(WriteSafetensors(Path(name), specs));
    return Path(name);
  }
  TempDir dir_;
};

// One of several parts besides, with a name to escape.
std::vector<TensorSpec> Specs() {
  std::vector<TensorSpec> specs = SharedDtypeSpecs();
  specs.push_back({"large \"quoted\" \xc3\xa4", Dtype::kU8, {9'000'001}});
  return specs;
}

TEST_F(ConvertTest, RoundTripGivesTheSameFile) {
  const std::string from = MakeSafetensors("a.safetensors", Specs());
  for (const uint64_t alignment : {1, 256, 4096}) {
    ConvertOptions options;
    options.alignment = alignment;
    options.replace = true;
    ASSERT_OK_AND_ASSIGN(const ConvertResult made, Tensorize(from, Path("b.tensors"), options));
    EXPECT_EQ(made.tensors, Specs().size());
    EXPECT_EQ(made.file_bytes, fs::file_size(Path("b.tensors")));
    ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, OpenSource(Path("b.tensors")));
    for (const TensorEntry& tensor : opened.manifest.tensors) {
      EXPECT_EQ((opened.manifest.shards[0].data_offset + tensor.offset) % alignment, 0);
    }
    ASSERT_OK(Untensorize(Path("b.tensors"), Path("c.safetensors"), options));
    EXPECT_EQ(ReadFile(Path("c.safetensors")) == ReadFile(from), true);
  }
  EXPECT_THAT(Names(dir_.path()), ElementsAre("a.safetensors", "b.tensors", "c.safetensors"));
}

// What another writer makes of the same tensors, with hashes of other libraries.
TEST_F(ConvertTest, WritesTheBytesOfTheReferenceWriter) {
  const std::vector<TensorSpec> specs = SmallTensorSpecs(5, 5'000);
  WriteOptions in_order;
  in_order.keep_order = true;
  ASSERT_OK(WriteSafetensors(Path("a.safetensors"), specs, in_order));
  ASSERT_OK(WriteTensors(Path("wanted.tensors"), specs));
  ConvertOptions options;
  options.alignment = 1;
  ASSERT_OK(Tensorize(Path("a.safetensors"), Path("b.tensors"), options));
  // The index is 256 KiB here, so offsets differ; headers and data are the same from there.
  const std::string got = ReadFile(Path("b.tensors"));
  const std::string wanted = ReadFile(Path("wanted.tensors"));
  const size_t data = wanted.size() - 73;
  ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, OpenSource(Path("wanted.tensors")));
  const uint64_t first_data = opened.manifest.shards[0].data_offset;
  EXPECT_LT(first_data, data);
  EXPECT_EQ(got.substr(got.size() - (wanted.size() - first_data)) == wanted.substr(first_data),
            true);
}

TEST_F(ConvertTest, ShardsBecomeOneFile) {
  ASSERT_OK(WriteSharded(Path("d"), LlamaSpecs(4'000'000), 3));
  ASSERT_OK(Tensorize(Path("d"), Path("one.tensors")));
  ASSERT_OK(Untensorize(Path("one.tensors"), Path("one.safetensors")));
  ASSERT_OK(WriteSafetensors(Path("wanted.safetensors"), LlamaSpecs(4'000'000)));
  EXPECT_EQ(ReadFile(Path("one.safetensors")) == ReadFile(Path("wanted.safetensors")), true);
}

TEST_F(ConvertTest, RefusesWhatTheOtherFormatLacks) {
  MakeSafetensors("packed.safetensors", {{"p", Dtype::kF4, {2, 8}}});
  EXPECT_THAT(Tensorize(Path("packed.safetensors"), Path("b.tensors")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("dtype F4")));
  TensorText opaque;
  opaque.dtype = std::string("|V1\0torch.uint4", 15);
  opaque.shape = {8};
  opaque.hashes = Hex("01 00 00");
  ASSERT_OK(WriteRawFile(Path("opaque.tensors"), FileText({opaque}, 2)));
  EXPECT_THAT(Untensorize(Path("opaque.tensors"), Path("b.safetensors")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("torch.uint4")));
  TensorsOptions encrypted;
  encrypted.key = std::string(32, 'k');
  ASSERT_OK(WriteTensors(Path("secret.tensors"), SmallTensorSpecs(2, 100), encrypted));
  EXPECT_THAT(Untensorize(Path("secret.tensors"), Path("b.safetensors")).status(),
              ReasonIs(Reason::kKeyMissing, _));
  EXPECT_THAT(Names(dir_.path()),
              ElementsAre("opaque.tensors", "packed.safetensors", "secret.tensors"));
}

TEST_F(ConvertTest, DamagedSourceLeavesNothing) {
  TensorsOptions options;
  options.damaged = true;
  ASSERT_OK(WriteTensors(Path("a.tensors"), SmallTensorSpecs(3, 3'000), options));
  EXPECT_THAT(Untensorize(Path("a.tensors"), Path("b.safetensors")).status(),
              ReasonIs(Reason::kIntegrityFailed, HasSubstr("CRC32")));
  EXPECT_THAT(Names(dir_.path()), ElementsAre("a.tensors"));
}

TEST_F(ConvertTest, ExistingFileIsKeptUnlessItMayBeReplaced) {
  const std::string from = MakeSafetensors("a.safetensors", SmallTensorSpecs(2, 100));
  ASSERT_OK(WriteRawFile(Path("b.tensors"), "precious"));
  EXPECT_THAT(Tensorize(from, Path("b.tensors")),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("--force")));
  EXPECT_EQ(ReadFile(Path("b.tensors")), "precious");
  ConvertOptions options;
  options.replace = true;
  EXPECT_OK(Tensorize(from, Path("b.tensors"), options));
}

TEST_F(ConvertTest, MissingSourceAndDirectoryAreNamed) {
  EXPECT_THAT(Tensorize(Path("none.safetensors"), Path("b.tensors")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.safetensors")));
  const std::string from = MakeSafetensors("a.safetensors", SmallTensorSpecs(2, 100));
  EXPECT_THAT(Tensorize(from, Path("no/such/b.tensors")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("b.tensors")));
}

// A full disk, as the process's limit for files makes one.
TEST_F(ConvertTest, NoRoomLeavesNothing) {
  const std::string from = MakeSafetensors("a.safetensors", SmallTensorSpecs(2, 3'000'000));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {.rlim_cur = 1'000'000, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  absl::Status status;
  // Limits are those that a thread had at its first volume call.
  absl::StatusOr<Thread> thread =
      Thread::Start("few bytes", [&] { status = Tensorize(from, Path("b.tensors")).status(); });
  ASSERT_OK(thread);
  thread->Join();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("b.tensors"));
  EXPECT_THAT(Names(dir_.path()), ElementsAre("a.safetensors"));
}

TEST_F(ConvertTest, DigestManifestIsWrittenBesideTheCheckpoint) {
  const std::string from = MakeSafetensors("a.safetensors", SmallTensorSpecs(3, 3'000));
  ASSERT_OK_AND_ASSIGN(const DigestResult file, WriteDigests(from, ""));
  EXPECT_EQ(file.path, Path("a.digests.json"));
  const nlohmann::json json = nlohmann::json::parse(ReadFile(file.path));
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["xxh3_128"].size(), 3);
  ASSERT_OK(WriteSharded(Path("d"), SmallTensorSpecs(4, 4'000), 2));
  ASSERT_OK_AND_ASSIGN(const DigestResult directory, WriteDigests(Path("d"), ""));
  EXPECT_EQ(directory.path, Path("d/weightd.digests.json"));
  // The checkpoint is opened with it from now on.
  ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, OpenSource(Path("d")));
  ASSERT_NE(opened.digests, nullptr);
  EXPECT_EQ(opened.digests->digests.size(), 4);
  EXPECT_THAT(WriteDigests(from, "").status(), StatusIs(absl::StatusCode::kAlreadyExists, _));
}

}  // namespace
}  // namespace weightd::testing
