#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/support/process/wait_until.h"
#include "tests/support/storage/fuse_volume.h"
#include "tests/support/storage/memory_volume.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace weightd::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using CatalogFindTest = CatalogFixture;

TEST_F(CatalogFindTest, FindsWhatListNames) {
  WriteOne("single.safetensors");
  WriteOne("a/b/c/model.safetensors");
  WriteOne("hub/datasets/x/model.safetensors");
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc", Specs(), 2));
  ASSERT_OK(WriteHubCache(first_.path(), "gpt2", "abc", Specs(), 1));
  ASSERT_OK(WriteHubCache(first_.File("hub"), "org/other", "abc", Specs(), 1));
  ASSERT_OK(WriteSharded(second_.path(), Specs(), 2));
  WriteOne("models--org--name/snapshots/abc/unet/model.safetensors");
  const Catalog catalog = MakeCatalog();
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, catalog.List());
  ASSERT_EQ(list.size(), 8u);
  for (const Checkpoint& wanted : list) {
    ASSERT_OK_AND_ASSIGN(const Checkpoint found, catalog.Find(wanted.model));
    EXPECT_EQ(found.model, wanted.model);
    EXPECT_EQ(found.volume->root(), wanted.volume->root());
    EXPECT_EQ(found.directory, wanted.directory);
    EXPECT_EQ(found.revision, wanted.revision);
    EXPECT_EQ(found.shard_paths, wanted.shard_paths);
    EXPECT_EQ(found.index_path, wanted.index_path);
    EXPECT_EQ(found.file_bytes, wanted.file_bytes);
    EXPECT_OK(catalog.Open(found));
  }
}

TEST_F(CatalogFindTest, AgreesWithListWhereANameHasSeveralPlaces) {
  WriteOne("m.safetensors");
  WriteOne("m/model.safetensors");
  ASSERT_OK(WriteHubCache(first_.path(), "m", "abc", Specs(), 1));
  WriteOne("org/name/model.safetensors");
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc", Specs(), 1));
  ASSERT_OK(WriteHubCache(first_.File("org"), "name", "abc", Specs(), 1));
  const Catalog catalog = MakeCatalog();
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, catalog.List());
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].directory, "");
  EXPECT_EQ(list[1].directory, "org/name");
  for (const Checkpoint& wanted : list) {
    ASSERT_OK_AND_ASSIGN(const Checkpoint found, catalog.Find(wanted.model));
    EXPECT_EQ(found.directory, wanted.directory);
  }
}

TEST_F(CatalogFindTest, DoesNotReadTheRestOfTheTree) {
  WriteOne("m/model.safetensors");
  for (int i = 0; i < 20; ++i) WriteOne(absl::StrCat("other/", i, ".safetensors"));
  EXPECT_OK(MakeCatalog({.entries_max = 5}).Find("m"));
}

TEST_F(CatalogFindTest, FindsTheSnapshotThatARevisionNames) {
  const std::string first = "abcdef0123";
  const std::string second = "abcdef0987";
  for (const std::string& revision : {first, second}) {
    ASSERT_OK(WriteHubCache(first_.path(), "org/name", revision, Specs(), 1));
  }
  WriteOne("plain/model.safetensors");
  const Catalog catalog = MakeCatalog();
  const auto found = [&](const std::string& revision) {
    const auto checkpoint = catalog.Find("org/name", revision);
    return checkpoint.ok() ? checkpoint->revision : std::string(checkpoint.status().message());
  };
  EXPECT_EQ(found(first), first);
  EXPECT_EQ(found(second), second);
  EXPECT_EQ(found("abcdef09"), second);
  ASSERT_OK_AND_ASSIGN(const Checkpoint main, catalog.Find("org/name"));
  EXPECT_EQ(found("main"), main.revision);
  EXPECT_EQ(found("refs/main"), main.revision);
  // Too short, fits both, is none, or is not to be left.
  for (const char* revision : {"abcdef", "abcdef0", "1234567", "../abcdef0123"}) {
    EXPECT_THAT(catalog.Find("org/name", revision), ReasonIs(Reason::kModelNotFound, _));
  }
  EXPECT_THAT(catalog.Find("plain", first),
              ReasonIs(Reason::kModelNotFound, HasSubstr("only the snapshots of a hub cache")));
}

TEST_F(CatalogFindTest, SaysWhichFilesItFound) {
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc", Specs(), 2));
  const Catalog catalog = MakeCatalog();
  ASSERT_OK_AND_ASSIGN(const Checkpoint found, catalog.Find("org/name"));
  ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, catalog.Open(found));
  ASSERT_EQ(found.identities.size(), opened.files.size());
  for (size_t i = 0; i < opened.files.size(); ++i) {
    EXPECT_EQ(found.identities[i], opened.files[i]->identity());
  }
}

// '@' separates a name from its generation or revision.
TEST_F(CatalogFindTest, PassesOverNamesWithAnAt) {
  WriteOne("a@b.safetensors");
  WriteOne("c@d/model.safetensors");
  WriteOne("plain/x@y.safetensors");  // a file of a model may have one
  const Catalog catalog = MakeCatalog();
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, catalog.List());
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].model, "plain");
  EXPECT_EQ(list[0].shard_paths.size(), 1u);
  EXPECT_THAT(catalog.Find("a@b"), ReasonIs(Reason::kInvalidRequest, _));
}

TEST_F(CatalogFindTest, NamesNearMisses) {
  WriteOne("llama-8b/model.safetensors");
  ASSERT_OK(WriteHubCache(second_.path(), "meta/llama-8b-it", "abc", Specs(), 1));
  const Catalog catalog = MakeCatalog();
  EXPECT_THAT(catalog.Find("lama-8b"),
              ReasonIs(Reason::kModelNotFound, HasSubstr("did you mean llama-8b")));
  EXPECT_THAT(catalog.Find("lama-8b"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("lama-8b")));
  EXPECT_THAT(catalog.Find("llama-8b-it"),
              ReasonIs(Reason::kModelNotFound, HasSubstr("meta/llama-8b-it")));
  EXPECT_THAT(catalog.Find("something/else"),
              ReasonIs(Reason::kModelNotFound, Not(HasSubstr("did you mean"))));
}

TEST_F(CatalogFindTest, AModelExistsWhereItIsOrCannotBeTold) {
  WriteOne("org/llama/model.safetensors");
  const Catalog catalog = MakeCatalog();
  EXPECT_OK(catalog.CheckExists("org/llama"));
  EXPECT_THAT(catalog.CheckExists("org/lama"),
              ReasonIs(Reason::kModelNotFound,
                       AllOf(HasSubstr(absl::StrCat("below the roots ", first_.path())),
                             HasSubstr("did you mean org/llama?"))));
  EXPECT_THAT(catalog.CheckExists("../x"), ReasonIs(Reason::kPathOutsideRoot, HasSubstr("name")));
  // Nobody has looked through the root: it may have it.
  EXPECT_OK(catalog.CheckShown("org/lama"));
}

// Directories that lie on another volume than the files, which are links out of it.
class ElsewhereVolume final : public Volume {
 public:
  static constexpr uint64_t kElsewhere = 77;
  const std::string& root() const override { return files_.root(); }
  FileSystemKind file_system() const override { return files_.file_system(); }
  absl::StatusOr<DirListing> List(absl::string_view directory, size_t entries_max) override {
    absl::StatusOr<DirListing> listing = files_.List(directory, entries_max);
    if (listing.ok()) listing->device = kElsewhere;
    return listing;
  }
  absl::StatusOr<PathFacts> Stat(absl::string_view path) override { return files_.Stat(path); }
  absl::StatusOr<std::shared_ptr<File>> Open(absl::string_view path) override {
    return files_.Open(path);
  }
  MemoryVolume& files() { return files_; }

 private:
  MemoryVolume files_;
};

TEST(CatalogVolumesTest, AllThatOpeningACheckpointTouchesAreKnown) {
  const auto volume = std::make_shared<ElsewhereVolume>();
  volume->files().AddFile("m/model.safetensors", "x");
  const Catalog catalog(std::vector<std::shared_ptr<Volume>>{volume}, CatalogOptions());
  ASSERT_OK_AND_ASSIGN(const Checkpoint found, catalog.Find("m"));
  const uint64_t of_file = found.identities.at(0).device;
  EXPECT_THAT(found.volumes, ::testing::ElementsAre(of_file, ElsewhereVolume::kElsewhere));
  EXPECT_THAT(OpenWork(found, 1000).lanes(),
              ::testing::ElementsAre(
                  VolumeLane{.volumes = {of_file, ElsewhereVolume::kElsewhere}, .uid = 1000}));
}

TEST_F(CatalogFindTest, DoesNotFindWhatListLeavesOut) {
  WriteOne(".hidden/model.safetensors");
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc", Specs(), 1));
  WriteOne("a/b/c/model.safetensors");
  const Catalog catalog = MakeCatalog({.depth_max = 3});
  for (const char* model : {".hidden", "models--org--name", "models--org--name/snapshots/abc",
                            "models--org--name/blobs", "org", "a/b", "a"}) {
    EXPECT_THAT(catalog.Find(model), ReasonIs(Reason::kModelNotFound, HasSubstr(model)));
  }
  EXPECT_OK(catalog.Find("a/b/c"));
  EXPECT_THAT(MakeCatalog({.depth_max = 2}).Find("a/b/c"),
              ReasonIs(Reason::kModelNotFound, HasSubstr("a/b/c")));
}

TEST_F(CatalogFindTest, RefusesNamesThatLeaveTheRoot) {
  const Catalog catalog = MakeCatalog();
  for (const char* model : {"", "/etc", "..", "../x", "a/../b", "a/./b", "a//b", "a/", "a\nb"}) {
    EXPECT_THAT(catalog.Find(model), ReasonIs(Reason::kPathOutsideRoot, HasSubstr("model name")));
    EXPECT_THAT(catalog.Find(model), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  }
}

TEST_F(CatalogFindTest, SaysThatALinkLeavesTheRoot) {
  ASSERT_OK(WriteSafetensors(second_.File("m/model.safetensors"), Specs()));
  std::filesystem::create_directory_symlink(second_.File("m"), first_.File("dir"));
  std::filesystem::create_directory(first_.File("file"));
  std::filesystem::create_symlink(second_.File("m/model.safetensors"),
                                  first_.File("file/model.safetensors"));
  std::filesystem::create_symlink(second_.File("m/model.safetensors"),
                                  first_.File("top.safetensors"));
  const Catalog catalog = Make({first_.path()});
  for (const char* model : {"dir", "file", "top"}) {
    EXPECT_THAT(catalog.Find(model), ReasonIs(Reason::kPathOutsideRoot, AllOf(HasSubstr(model))));
  }
}

// However many hang, a model behind them is found as soon as behind one.
TEST_F(CatalogFindTest, RootsThatDoNotAnswerAreWaitedForSideBySide) {
  std::vector<std::unique_ptr<FuseVolume>> volumes;
  std::vector<std::shared_ptr<Root>> roots;
  for (int i = 0; i < 2; ++i) {
    auto volume = FuseVolume::Mount({{"other.safetensors", "none"}});
    if (!volume.ok()) GTEST_SKIP() << volume.status();
    ASSERT_OK_AND_ASSIGN(roots.emplace_back(), Root::Create((*volume)->root(), {}));
    (*volume)->HangLookups();
    volumes.push_back(*std::move(volume));
  }
  WriteOne("m.safetensors");
  ASSERT_OK_AND_ASSIGN(roots.emplace_back(), Root::Create(first_.path(), {}));
  Catalog catalog(roots, {});
  std::thread answers([&] {
    EXPECT_TRUE(WaitUntil([&] { return volumes[0]->held() > 0 && volumes[1]->held() > 0; }));
    for (const auto& volume : volumes) volume->Answer();
  });
  ASSERT_OK_AND_ASSIGN(const Checkpoint found, catalog.Find("m"));
  answers.join();
  EXPECT_EQ(found.volume->root(), first_.path());
  ASSERT_EQ(found.fallbacks.size(), 2u);
  // By its error: it was not given up before the second was asked.
  EXPECT_THAT(found.fallbacks[0], Not(HasSubstr("was not answered")));
}

}  // namespace
}  // namespace weightd::testing
