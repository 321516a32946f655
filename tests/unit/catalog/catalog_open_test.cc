#include "absl/strings/str_cat.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class CatalogOpenTest : public CatalogFixture {
 protected:
  absl::StatusOr<OpenedCheckpoint> FindAndOpen(absl::string_view model,
                                               CatalogOptions options = {}) const {
    const Catalog catalog = MakeCatalog(options);
    const auto checkpoint = catalog.Find(model);
    if (!checkpoint.ok()) return checkpoint.status();
    return catalog.Open(*checkpoint);
  }
  void WriteIndex(const std::string& map) const {
    ASSERT_OK(WriteRawFile(first_.File("m/model.safetensors.index.json"),
                           absl::StrCat(R"({"weight_map":)", map, "}")));
  }
  static std::vector<std::string> Names(const Manifest& manifest) {
    std::vector<std::string> names;
    for (const TensorEntry& tensor : manifest.tensors) {
      names.push_back(absl::StrCat(tensor.shard_index, ":", tensor.name));
    }
    return names;
  }
};

TEST_F(CatalogOpenTest, ReadsEveryShardIntoOneManifest) {
  const std::vector<TensorSpec> specs = LlamaSpecs(1 << 20);
  ASSERT_OK(WriteSharded(first_.File("m"), specs, 9));
  ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, FindAndOpen("m"));
  const Manifest& manifest = opened.manifest;
  ASSERT_EQ(manifest.shards.size(), 9u);
  ASSERT_EQ(opened.files.size(), 9u);
  EXPECT_EQ(manifest.tensors.size(), specs.size());
  EXPECT_EQ(manifest.tensor_bytes(), SpecBytes(specs));
  EXPECT_THAT(manifest.metadata, ElementsAre(Pair("format", "pt")));
  for (size_t i = 0; i < manifest.shards.size(); ++i) {
    EXPECT_EQ(manifest.shards[i].path, opened.files[i]->path());
    EXPECT_EQ(manifest.shards[i].path, opened.checkpoint.shard_paths[i]);
    EXPECT_EQ(manifest.shards[i].file_bytes, opened.files[i]->identity().size_bytes);
  }
  for (const TensorEntry& tensor : manifest.tensors) {
    std::vector<std::byte> bytes(tensor.bytes);
    ASSERT_OK(opened.files[tensor.shard_index]->ReadAt(
        manifest.shards[tensor.shard_index].data_offset + tensor.offset, absl::MakeSpan(bytes)));
    EXPECT_EQ(FindWrongByte(1, tensor.name, 0, bytes), -1) << tensor.name;
  }
  EXPECT_OK(opened.CheckUnchanged());
}

TEST_F(CatalogOpenTest, OpensAHubCacheThroughItsLinks) {
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc", Specs(), 3));
  ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, FindAndOpen("org/name"));
  EXPECT_THAT(Names(opened.manifest), ElementsAre("0:a", "1:b", "2:c"));
  EXPECT_EQ(opened.checkpoint.revision, "abc");
}

TEST_F(CatalogOpenTest, SeesThatAFileWasReplaced) {
  WriteOne("m/model.safetensors");
  ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, FindAndOpen("m"));
  ASSERT_OK(WriteSafetensors(first_.File("m/new"), Specs()));
  std::filesystem::rename(first_.File("m/new"), first_.File("m/model.safetensors"));
  EXPECT_THAT(opened.CheckUnchanged(), ReasonIs(Reason::kCheckpointChanged, HasSubstr("m/model")));
}

TEST_F(CatalogOpenTest, CountsOnlyTheShardsOfTheIndex) {
  ASSERT_OK(WriteSharded(first_.File("m"), Specs(), 2));
  ASSERT_OK(WriteSafetensors(first_.File("m/consolidated.safetensors"), Specs()));
  ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, FindAndOpen("m"));
  EXPECT_EQ(opened.files.size(), 2u);
}

TEST_F(CatalogOpenTest, LoadsTensorsThatTheIndexLeavesOut) {
  ASSERT_OK(WriteSafetensors(first_.File("m/x.safetensors"), Specs()));
  WriteIndex(R"({"b":"x.safetensors"})");
  ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, FindAndOpen("m"));
  EXPECT_THAT(Names(opened.manifest), ElementsAre("0:a", "0:b", "0:c"));
}

TEST_F(CatalogOpenTest, RefusesAnIndexThatNamesAMissingShard) {
  ASSERT_OK(WriteSafetensors(first_.File("m/x.safetensors"), Specs()));
  WriteIndex(R"({"b":"x.safetensors","d":"y.safetensors"})");
  EXPECT_THAT(FindAndOpen("m"),
              ReasonIs(Reason::kCheckpointInvalid,
                       AllOf(HasSubstr("m/y.safetensors: no such file"), HasSubstr("tensor \"d\""),
                             HasSubstr("m/model.safetensors.index.json"))));
}

TEST_F(CatalogOpenTest, RefusesAnIndexThatNamesATensorItsShardLacks) {
  ASSERT_OK(WriteSafetensors(first_.File("m/x.safetensors"), Specs()));
  ASSERT_OK(WriteSafetensors(first_.File("m/y.safetensors"), Specs("y.")));
  WriteIndex(R"({"a":"x.safetensors","y.a":"y.safetensors","nope":"x.safetensors"})");
  EXPECT_THAT(FindAndOpen("m"),
              ReasonIs(Reason::kCheckpointInvalid,
                       AllOf(HasSubstr("m/model.safetensors.index.json: tensor \"nope\""),
                             HasSubstr("not in m/x.safetensors"), HasSubstr("no shard has it"))));
  WriteIndex(R"({"a":"y.safetensors","b":"x.safetensors"})");
  EXPECT_THAT(FindAndOpen("m"), ReasonIs(Reason::kCheckpointInvalid,
                                         HasSubstr("as the index says, it is in m/x.safetensors")));
}

TEST_F(CatalogOpenTest, RefusesATensorInTwoShardsThatTheIndexNamesOnce) {
  ASSERT_OK(WriteSafetensors(first_.File("m/x.safetensors"), Specs()));
  const std::vector<TensorSpec> y = {Specs("y.")[0], Specs()[1]};
  ASSERT_OK(WriteSafetensors(first_.File("m/y.safetensors"), y));
  const auto refused = ReasonIs(Reason::kCheckpointInvalid,
                                HasSubstr("\"b\" is in m/x.safetensors and in m/y.safetensors"));
  const std::string x = R"("a":"x.safetensors","b":"x.safetensors","c":"x.safetensors")";
  WriteIndex(absl::StrCat("{", x, R"(,"y.a":"y.safetensors"})"));
  EXPECT_THAT(FindAndOpen("m"), refused);
  // As many names as the file has tensors.
  WriteIndex(absl::StrCat("{", x, R"(,"y.a":"y.safetensors","y.b":"y.safetensors"})"));
  EXPECT_THAT(FindAndOpen("m"), refused);
}

TEST_F(CatalogOpenTest, ReadsTheIndexOnceWhileItStaysTheSame) {
  ASSERT_OK(WriteSharded(first_.File("m"), Specs(), 2));
  const Catalog catalog = MakeCatalog();
  ASSERT_OK_AND_ASSIGN(Checkpoint found, catalog.Find("m"));
  ASSERT_NE(found.index, nullptr);
  EXPECT_EQ(found.index->content.entries.size(), 3u);
  // Something that the file does not say shows which one is believed.
  auto other = std::make_shared<CheckpointIndex>(*found.index);
  other->content.entries[0].tensor = "other";
  found.index = std::move(other);
  EXPECT_THAT(catalog.Open(found),
              ReasonIs(Reason::kCheckpointInvalid, HasSubstr("tensor \"other\"")));

  WriteIndex(R"({"a":"model-00001-of-00002.safetensors"})");
  ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, catalog.Open(found));
  EXPECT_THAT(opened.checkpoint.shard_paths, ElementsAre("m/model-00001-of-00002.safetensors"));
  EXPECT_EQ(opened.checkpoint.index, nullptr);
}

TEST_F(CatalogOpenTest, RefusesAnIndexThatLeavesItsDirectory) {
  WriteOne("m/x.safetensors");
  WriteOne("other.safetensors");
  WriteIndex(R"({"a":"../other.safetensors"})");
  EXPECT_THAT(FindAndOpen("m"), ReasonIs(Reason::kPathOutsideRoot, HasSubstr("tensor \"a\"")));
}

TEST_F(CatalogOpenTest, RefusesAShardWhoseLinkLeavesTheRoot) {
  ASSERT_OK(WriteSafetensors(second_.File("x.safetensors"), Specs()));
  std::filesystem::create_directory(first_.File("m"));
  std::filesystem::create_symlink(second_.File("x.safetensors"), first_.File("m/x.safetensors"));
  WriteIndex(R"({"a":"x.safetensors"})");
  EXPECT_THAT(FindAndOpen("m"), ReasonIs(Reason::kPathOutsideRoot, HasSubstr("m/x.safetensors")));
}

TEST_F(CatalogOpenTest, RefusesANumberedShardThatIsMissingWithoutAnIndex) {
  ASSERT_OK(WriteSharded(first_.File("m"), Specs(), 3));
  std::filesystem::remove(first_.File("m/model.safetensors.index.json"));
  EXPECT_OK(FindAndOpen("m"));
  std::filesystem::remove(first_.File("m/model-00002-of-00003.safetensors"));
  EXPECT_THAT(FindAndOpen("m"),
              ReasonIs(Reason::kCheckpointInvalid,
                       HasSubstr("m/model-00002-of-00003.safetensors: no such file")));
}

TEST_F(CatalogOpenTest, RefusesATensorInTwoShards) {
  ASSERT_OK(WriteSafetensors(first_.File("m/x.safetensors"), Specs()));
  ASSERT_OK(WriteSafetensors(first_.File("m/y.safetensors"), Specs()));
  EXPECT_THAT(FindAndOpen("m"),
              ReasonIs(Reason::kCheckpointInvalid,
                       AllOf(HasSubstr("tensor \"a\" is in m/x.safetensors and in "
                                       "m/y.safetensors"))));
}

TEST_F(CatalogOpenTest, ReturnsTheFirstShardsError) {
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 8; ++i) {
      ASSERT_OK(WriteRawFile(first_.File(absl::StrCat("m/", i, ".safetensors")),
                             i < 3 ? SafetensorsPrefix("{}") : "bad"));
    }
    EXPECT_THAT(FindAndOpen("m"), ReasonIs(Reason::kCheckpointInvalid,
                                           HasSubstr("m/3.safetensors: file has 3 bytes")));
  }
}

TEST_F(CatalogOpenTest, RefusesATruncatedShard) {
  WriteOne("m/model.safetensors");
  const std::string path = first_.File("m/model.safetensors");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_THAT(FindAndOpen("m"), ReasonIs(Reason::kCheckpointInvalid, HasSubstr("cut off")));
  std::filesystem::resize_file(path, 100);
  EXPECT_THAT(FindAndOpen("m"), ReasonIs(Reason::kCheckpointInvalid, HasSubstr("are left")));
}

TEST_F(CatalogOpenTest, HoldsItsLimits) {
  ASSERT_OK(WriteSharded(first_.File("m"), Specs(), 3));
  EXPECT_OK(FindAndOpen("m", {.shards_max = 3, .tensors_max = 3}));
  EXPECT_THAT(FindAndOpen("m", {.shards_max = 2}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("2 that are allowed")));
  EXPECT_THAT(FindAndOpen("m", {.tensors_max = 2}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("2 that are allowed")));
  std::filesystem::remove(first_.File("m/model.safetensors.index.json"));
  EXPECT_THAT(FindAndOpen("m", {.shards_max = 2}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("3 files, at most 2")));
  EXPECT_THAT(FindAndOpen("m", {.tensors_max = 2}),
              ReasonIs(Reason::kLimitExceeded, HasSubstr("3 tensors, at most 2")));
}

TEST_F(CatalogOpenTest, ReadsManyShardsWithOneThread) {
  ASSERT_OK(WriteSharded(first_.File("m"), LlamaSpecs(1 << 20), 20));
  EXPECT_OK(FindAndOpen("m", {.header_threads = 1}));
  EXPECT_OK(FindAndOpen("m", {.header_threads = 64}));
}

TEST(CatalogOptionsTest, ValidatesItself) {
  EXPECT_OK(CatalogOptions().Validate());
  EXPECT_THAT(CatalogOptions{.depth_max = 33}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("depth_max")));
  EXPECT_THAT(CatalogOptions{.entries_max = 0}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("entries_max")));
  EXPECT_THAT(CatalogOptions{.shards_max = 65'537}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shards_max")));
  EXPECT_THAT(CatalogOptions{.tensors_max = 16'000'001}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tensors_max")));
  EXPECT_THAT(CatalogOptions{.header_threads = 65}.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("header_threads")));
}

}  // namespace
}  // namespace weightd::testing
