#include <utime.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "daemon/storage/descriptor_budget.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A real volume that cannot list one of its directories, and counts how often it is looked up.
class FaultyVolume final : public Volume {
 public:
  FaultyVolume(std::unique_ptr<Volume> volume, std::string faulty)
      : volume_(std::move(volume)), faulty_(std::move(faulty)) {}
  const std::string& root() const override { return volume_->root(); }
  FileSystemKind file_system() const override { return volume_->file_system(); }
  absl::StatusOr<DirListing> List(absl::string_view directory, size_t entries_max) override {
    if (directory == faulty_) return PosixError(EIO, "list");
    return volume_->List(directory, entries_max);
  }
  absl::StatusOr<PathFacts> Stat(absl::string_view path) override {
    ++stats_;
    return volume_->Stat(path);
  }
  absl::StatusOr<std::shared_ptr<File>> Open(absl::string_view path) override {
    return volume_->Open(path);
  }
  size_t stats() const { return stats_; }

 private:
  const std::unique_ptr<Volume> volume_;
  const std::string faulty_;
  size_t stats_ = 0;
};

class CatalogListTest : public CatalogFixture {
 protected:
  // A catalog of the first root, whose directory `faulty` cannot be listed.
  Catalog MakeWithFault(const std::string& faulty) const {
    auto volume = OpenVolume(first_.path());
    EXPECT_OK(volume);
    return Catalog({std::make_shared<FaultyVolume>(*std::move(volume), faulty)}, {});
  }
};

TEST_F(CatalogListTest, FindsNothingInEmptyRoots) { EXPECT_THAT(Models(MakeCatalog()), IsEmpty()); }

TEST_F(CatalogListTest, FindsEveryLayout) {
  WriteOne("single.safetensors");
  WriteOne("dir/model.safetensors");
  WriteOne("nested/deep/er/weights.safetensors");
  ASSERT_OK(WriteSharded(first_.File("sharded"), Specs(), 3));
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc123", Specs(), 2));
  ASSERT_OK(WriteHubCache(first_.path(), "gpt2", "def456", Specs(), 1));
  ASSERT_OK(WriteRawFile(first_.File("notes/readme.txt"), "x"));
  EXPECT_THAT(Models(MakeCatalog()),
              ElementsAre("dir", "gpt2", "nested/deep/er", "org/name", "sharded", "single"));
}

TEST_F(CatalogListTest, DescribesAShardedCheckpoint) {
  ASSERT_OK(WriteSharded(first_.File("m"), Specs(), 2));
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, MakeCatalog().List());
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].directory, "m");
  EXPECT_EQ(list[0].index_path, "m/model.safetensors.index.json");
  EXPECT_THAT(list[0].shard_paths, ElementsAre("m/model-00001-of-00002.safetensors",
                                               "m/model-00002-of-00002.safetensors"));
  EXPECT_EQ(list[0].file_bytes,
            std::filesystem::file_size(first_.File("m/model-00001-of-00002.safetensors")) +
                std::filesystem::file_size(first_.File("m/model-00002-of-00002.safetensors")));
  EXPECT_EQ(list[0].problem, "");
  EXPECT_EQ(list[0].volume->root(), first_.path());
  EXPECT_EQ(list[0].index, nullptr);
}

TEST_F(CatalogListTest, TakesEveryFileOfTheRootAsAModelButThoseOfAnIndex) {
  ASSERT_OK(WriteSharded(first_.path(), Specs(), 2));
  WriteOne("other.safetensors");
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, MakeCatalog().List());
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].model, "model");
  EXPECT_EQ(list[0].directory, "");
  EXPECT_EQ(list[0].shard_paths.size(), 2u);
  EXPECT_EQ(list[1].model, "other");
  EXPECT_THAT(list[1].shard_paths, ElementsAre("other.safetensors"));
}

TEST_F(CatalogListTest, LetsTheEarlierRootWin) {
  ASSERT_OK(WriteSafetensors(first_.File("m/model.safetensors"), Specs()));
  ASSERT_OK(WriteSafetensors(second_.File("m/model.safetensors"), Specs()));
  ASSERT_OK(WriteSafetensors(second_.File("n/model.safetensors"), Specs()));
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, MakeCatalog().List());
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].volume->root(), first_.path());
  EXPECT_EQ(list[1].volume->root(), second_.path());
}

TEST_F(CatalogListTest, PassesOverHiddenDirectories) {
  WriteOne(".cache/x/model.safetensors");
  WriteOne(".no_exist/model.safetensors");
  WriteOne("m/.staged/model.safetensors");
  WriteOne(".hidden.safetensors");
  EXPECT_THAT(Models(MakeCatalog()), IsEmpty());
}

TEST_F(CatalogListTest, SeesOnlyTheSnapshotOfAHubCache) {
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc", Specs(), 1));
  WriteOne("models--org--name/blobs/x.safetensors");
  WriteOne("models--org--name/refs/x.safetensors");
  WriteOne("models--org--name/.no_exist/abc/x.safetensors");
  WriteOne("models--org--name/x.safetensors");
  EXPECT_THAT(Models(MakeCatalog()), ElementsAre("org/name"));
}

TEST_F(CatalogListTest, FollowsRefsMain) {
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "zzz", Specs(), 1));
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "aaa", Specs(), 1));
  ASSERT_OK(WriteRawFile(first_.File("models--org--name/refs/main"), "zzz\n"));
  ASSERT_OK_AND_ASSIGN(std::vector<Checkpoint> list, MakeCatalog().List());
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].revision, "zzz");
  ASSERT_OK(WriteRawFile(first_.File("models--org--name/refs/main"), "aaa"));
  ASSERT_OK_AND_ASSIGN(list, MakeCatalog().List());
  EXPECT_EQ(list[0].revision, "aaa");
  EXPECT_EQ(list[0].directory, "models--org--name/snapshots/aaa");
}

TEST_F(CatalogListTest, TakesTheOnlySnapshotWithoutRefs) {
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc", Specs(), 1));
  std::filesystem::remove_all(first_.File("models--org--name/refs"));
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, MakeCatalog().List());
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].revision, "abc");
}

TEST_F(CatalogListTest, TakesTheNewestSnapshotWhereRefsMainNamesNone) {
  for (const char* revision : {"aaa", "bbb", "ccc"}) {
    ASSERT_OK(WriteHubCache(first_.path(), "org/name", revision, Specs(), 1));
  }
  const std::string repository = first_.File("models--org--name");
  for (const char* ref : {"../../../etc/passwd", "missing", "", "."}) {
    ASSERT_OK(WriteRawFile(repository + "/refs/main", ref));
    for (const char* newest : {"bbb", "aaa"}) {
      for (const char* revision : {"aaa", "bbb", "ccc"}) {
        const utimbuf times = {.actime = 1000,
                               .modtime = revision == std::string(newest) ? 2000 : 1000};
        const std::string file = repository + "/snapshots/" + revision + "/model.safetensors";
        ASSERT_EQ(::utime(file.c_str(), &times), 0);
      }
      ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, MakeCatalog().List());
      ASSERT_EQ(list.size(), 1u);
      EXPECT_EQ(list[0].revision, newest);
    }
  }
}

TEST_F(CatalogListTest, ListsWhatCannotBeOpenedWithItsProblem) {
  ASSERT_OK(WriteSharded(first_.File("missing"), Specs(), 2));
  std::filesystem::remove(first_.File("missing/model-00002-of-00002.safetensors"));
  ASSERT_OK(WriteRawFile(first_.File("bad/model.safetensors.index.json"), "{"));
  WriteOne("good/model.safetensors");
  WriteOne("several/model.safetensors");
  ASSERT_OK(WriteRawFile(first_.File("several/a.safetensors.index.json"), "{}"));
  ASSERT_OK(WriteRawFile(first_.File("several/b.safetensors.index.json"), "{}"));
  const Catalog catalog = MakeCatalog();
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, catalog.List());
  ASSERT_EQ(list.size(), 4u);
  EXPECT_THAT(list[0].problem, HasSubstr("read index bad/model.safetensors.index.json"));
  EXPECT_EQ(list[1].problem, "");
  EXPECT_THAT(list[2].problem, HasSubstr("missing/model-00002-of-00002.safetensors: no such file"));
  EXPECT_EQ(list[2].shard_paths.size(), 2u);
  EXPECT_EQ(list[2].file_bytes,
            std::filesystem::file_size(first_.File("missing/model-00001-of-00002.safetensors")));
  EXPECT_THAT(list[3].problem, HasSubstr("several indexes"));
  for (const Checkpoint& checkpoint : list) {
    if (checkpoint.problem.empty()) continue;
    EXPECT_THAT(catalog.Open(checkpoint), ReasonIs(Reason::kCheckpointInvalid, checkpoint.problem));
  }
}

// One index may lie in any number of directories, by links: what it names is not looked for in
// each.
TEST_F(CatalogListTest, VeryManyMissingShardsAreNotAllLookedFor) {
  std::vector<std::vector<TensorSpec>> shards(1000);
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i] = {{absl::StrCat("t", i), Dtype::kU8, {1}}};
  }
  ASSERT_OK(WriteRawFile(first_.File("m/model.safetensors.index.json"), IndexText(shards)));
  ASSERT_OK_AND_ASSIGN(auto real, OpenVolume(first_.path()));
  const auto volume = std::make_shared<FaultyVolume>(std::move(real), "none");
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, Catalog({volume}, {}).List());
  ASSERT_EQ(list.size(), 1u);
  EXPECT_THAT(list[0].problem,
              AllOf(HasSubstr("at least 64 of 1000 files are missing"), HasSubstr("m/model-00001-"),
                    HasSubstr("names it for tensor \"t0\"")));
  EXPECT_LT(volume->stats(), 80u);
  EXPECT_EQ(list[0].shard_paths.capacity(), 0u);
}

// What indexes hold counts for the limit of their directory in the root, a file that is read again
// for the next directory only once.
TEST_F(CatalogListTest, IndexesAreReadUpToALimit) {
  ASSERT_OK(WriteSharded(first_.File("a/one"), Specs(), 2));
  ASSERT_OK(WriteSharded(first_.File("b/one"), Specs(), 2));
  const std::string name = "model.safetensors.index.json";
  for (const char* tree : {"a", "b"}) {
    const std::string tree_path = first_.File(tree);
    std::filesystem::resize_file(absl::StrCat(tree_path, "/one/", name), 100 << 10);  // with NULs
    for (int i = 0; i < 3; ++i) {
      const std::string directory = absl::StrCat(tree_path, "/z", i);
      std::filesystem::create_directory(directory);
      std::filesystem::create_symlink("../y/" + name, absl::StrCat(directory, "/", name));
    }
  }
  std::filesystem::copy(first_.File("a/one"), first_.File("a/y"));
  ASSERT_OK(WriteSharded(first_.File("b/y"), Specs(), 2));
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, MakeCatalog({.entries_max = 20}).List());
  ASSERT_EQ(list.size(), 10u);
  // Three bad ones of 100 KiB are read.
  EXPECT_THAT(list[0].problem, HasSubstr("not valid JSON"));
  EXPECT_THAT(list[4].problem,
              AllOf(HasSubstr("a/z2/model.safetensors.index.json: the indexes of a"),
                    HasSubstr("limits.catalog_entries_max")));
  EXPECT_EQ(list[6].problem, "");
  EXPECT_THAT(list[9].problem, HasSubstr("b/z2/model-00001-of-00002.safetensors: no such file"));
}

TEST_F(CatalogListTest, PassesOverADirectoryThatCannotBeRead) {
  WriteOne("good/model.safetensors");
  WriteOne("bad/model.safetensors");
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc", Specs(), 1));
  const Catalog catalog = MakeWithFault("bad");
  EXPECT_THAT(Models(catalog), ElementsAre("good", "org/name"));
  EXPECT_THAT(catalog.Find("bad"), ReasonIs(Reason::kModelNotFound, HasSubstr("bad")));
  EXPECT_THAT(Models(MakeWithFault("models--org--name/snapshots")), ElementsAre("bad", "good"));
}

TEST_F(CatalogListTest, EndsInALoopOfSymlinks) {
  WriteOne("a/model.safetensors");
  std::filesystem::create_directory_symlink("..", first_.File("a/up"));
  std::filesystem::create_symlink("self", first_.File("a/self"));
  EXPECT_THAT(Models(MakeCatalog()), ::testing::Contains("a"));
}

TEST_F(CatalogListTest, StopsAtTheDepth) {
  WriteOne("a/b/model.safetensors");
  WriteOne("a/b/c/model.safetensors");
  EXPECT_THAT(Models(MakeCatalog({.depth_max = 2})), ElementsAre("a/b"));
  EXPECT_THAT(Models(MakeCatalog({.depth_max = 3})), ElementsAre("a/b", "a/b/c"));
}

TEST_F(CatalogListTest, ADirectoryWithTooManyEntriesIsLostAndNothingElse) {
  for (int i = 0; i < 10; ++i) {
    ASSERT_OK(WriteRawFile(first_.File("images/" + std::to_string(i)), "x"));
  }
  WriteOne("m/model.safetensors");
  EXPECT_THAT(Models(MakeCatalog({.entries_max = 10})), ElementsAre("m"));
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, MakeCatalog({.entries_max = 9}).List());
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].model, "images");
  EXPECT_THAT(list[0].problem, AllOf(HasSubstr("images: more entries than the 9"),
                                     HasSubstr("limits.catalog_entries_max")));
  EXPECT_EQ(list[1].model, "m");
  EXPECT_EQ(list[1].problem, "");
}

// Some of it is found, and all by name.
TEST_F(CatalogListTest, ARootWithTooManyEntriesHidesNothingThatIsNamed) {
  for (int i = 0; i < 10; ++i) WriteOne(absl::StrCat("f", i, ".safetensors"));
  WriteOne("m/model.safetensors");
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc", Specs(), 1));
  ASSERT_OK(WriteSharded(first_.path(), Specs(), 2));
  const Catalog catalog = Make({first_.path()}, {.entries_max = 5});
  EXPECT_THAT(catalog.List(), ReasonIs(Reason::kLimitExceeded, HasSubstr("catalog_entries_max")));
  for (const char* model : {"f0", "f9", "m", "org/name", "model"}) {
    ASSERT_OK_AND_ASSIGN(const Checkpoint found, catalog.Find(model));
    EXPECT_OK(catalog.Open(found)) << model;
  }
  EXPECT_THAT(catalog.Find("f10"), ReasonIs(Reason::kModelNotFound, ::testing::_));
}

// The entries of a tree count together, the upper directories first.
TEST_F(CatalogListTest, OneRowTellsOfAllThatATreeLoses) {
  WriteOne("data/model/model.safetensors");
  for (const char* directory : {"data/x", "data/y", "data/z"}) {
    for (int i = 0; i < 4; ++i) {
      ASSERT_OK(WriteRawFile(first_.File(absl::StrCat(directory, "/", i)), "x"));
    }
  }
  // data has 4, model 1, x 4.
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, MakeCatalog({.entries_max = 9}).List());
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].model, "data/model");
  EXPECT_EQ(list[1].model, "data/y");
  EXPECT_THAT(list[1].problem, HasSubstr("1 directories more of data"));
}

TEST_F(CatalogListTest, DataSetsAndSpacesOfAHubCacheAreNoModels) {
  ASSERT_OK(WriteHubCache(first_.path(), "org/name", "abc", Specs(), 1));
  WriteOne("datasets--org--images/snapshots/abc/model.safetensors");
  WriteOne("spaces--org--demo/snapshots/abc/model.safetensors");
  const Catalog catalog = MakeCatalog({.entries_max = 3});
  EXPECT_THAT(Models(catalog), ElementsAre("org/name"));
  EXPECT_THAT(catalog.Find("datasets--org--images/snapshots/abc"),
              ReasonIs(Reason::kModelNotFound, ::testing::_));
}

TEST_F(CatalogListTest, ADirectoryIsVisitedOnceWhateverLinksThereAre) {
  WriteOne("m/model.safetensors");
  WriteOne("n/deep/model.safetensors");
  for (int i = 0; i < 10; ++i) {
    std::filesystem::create_directory_symlink(".", first_.File(absl::StrCat("all", i)));
  }
  std::filesystem::create_directory_symlink("..", first_.File("m/up"));
  std::filesystem::create_directory_symlink("../n", first_.File("m/other"));
  // By its own path, though the link comes first.
  std::filesystem::create_directory_symlink("n", first_.File("a"));
  EXPECT_THAT(Models(MakeCatalog()), ElementsAre("m", "n/deep"));
  EXPECT_OK(MakeCatalog().Find("a/deep"));
}

// No descriptor but those of looking.
TEST_F(CatalogListTest, OpensNoWeightFile) {
  ASSERT_OK(WriteSharded(first_.File("m"), Specs(), 3));
  ASSERT_OK_AND_ASSIGN(std::shared_ptr<Volume> volume,
                       OpenVolume(first_.path(), std::make_shared<DescriptorBudget>(2, 8)));
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, Catalog({volume}, {}).List());
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].identities.size(), 3u);
  // And one after the other where headers are read.
  const Catalog catalog({volume}, {.header_threads = 8});
  ASSERT_OK_AND_ASSIGN(const OpenedCheckpoint opened, catalog.Open(list[0]));
  ASSERT_EQ(opened.files.size(), 3u);
  EXPECT_EQ(opened.files[0]->descriptor(ReadMode::kBuffered), -1);
}

TEST_F(CatalogListTest, FailsWhereARootCannotBeRead) {
  WriteOne("good/model.safetensors");
  const Catalog catalog = MakeWithFault("");
  EXPECT_THAT(catalog.List(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(first_.path())));
  EXPECT_THAT(catalog.Find("good"), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("scan")));
}

// Who looks for such a model learns why no request gets it.
TEST_F(CatalogListTest, NamesThatAreNotUtf8AreModelsWithAProblem) {
  WriteOne("m\xFF/model.safetensors");
  WriteOne("m\xFF/below/model.safetensors");
  WriteOne("n\n/model.safetensors");
  WriteOne("file\xFE.safetensors");
  WriteOne("models--org--x\xFF/snapshots/abc/model.safetensors");
  WriteOne("\xFD/only/other/files.txt");
  WriteOne(".\xFD/model.safetensors");
  const Catalog catalog = MakeCatalog();
  EXPECT_THAT(Models(catalog),
              ElementsAre(R"(file\xfe)", R"(m\xff)", R"(m\xff/below)", R"(n\x0a)", R"(org/x\xff)"));
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, catalog.List());
  for (const Checkpoint& checkpoint : list) {
    EXPECT_THAT(checkpoint.problem, HasSubstr("rename it")) << checkpoint.model;
    EXPECT_THAT(checkpoint.shard_paths, IsEmpty());
  }
  EXPECT_THAT(list[0].problem, HasSubstr("is not UTF-8"));
  EXPECT_THAT(list[3].problem, HasSubstr("control character"));
}

// A model without one of its files must not pass for a smaller one.
TEST_F(CatalogListTest, FileThatCannotBeNamedIsItsDirectorysProblem) {
  WriteOne("whole/model.safetensors");
  WriteOne("whole/other\xFF.tensors");
  WriteOne("torn/model.safetensors");
  WriteOne("torn/other\xFF.safetensors");
  const Catalog catalog = MakeCatalog();
  ASSERT_OK_AND_ASSIGN(const std::vector<Checkpoint> list, catalog.List());
  ASSERT_EQ(list.size(), 2u);
  EXPECT_THAT(list[0].problem, AllOf(HasSubstr("open torn: the name"), HasSubstr(R"(other\xff)")));
  EXPECT_EQ(list[1].problem, "");
  ASSERT_OK_AND_ASSIGN(const Checkpoint found, catalog.Find("torn"));
  EXPECT_FALSE(catalog.Open(found).ok());
}

}  // namespace
}  // namespace weightd::testing
