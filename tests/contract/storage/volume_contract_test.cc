// What every Volume does, run on a directory of this machine, alone and by the threads of its root,
// and on the one in memory.

#include <string>
#include <vector>

#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/contract/storage/storage_world.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct VolumeCase {
  std::string name;
  std::unique_ptr<StorageWorld> (*make_world)();
};

constexpr size_t kEntriesMax = 1000;

class VolumeContractTest : public ::testing::TestWithParam<VolumeCase> {
 protected:
  Volume& volume() { return world_->volume(); }
  // "name" or "name/" of each entry.
  std::vector<std::string> Names(const std::string& directory) {
    std::vector<std::string> names;
    const auto entries = volume().List(directory, kEntriesMax);
    EXPECT_OK(entries);
    if (!entries.ok()) return names;
    for (const DirEntry& entry : entries->entries) {
      names.push_back(entry.name + (entry.kind == DirEntry::Kind::kDirectory ? "/" : ""));
    }
    return names;
  }
  std::string ReadAll(const std::string& path) {
    const auto file = volume().Open(path);
    EXPECT_OK(file);
    if (!file.ok()) return "";
    std::string bytes((*file)->identity().size_bytes, '\0');
    EXPECT_OK((*file)->ReadAt(
        0, absl::MakeSpan(reinterpret_cast<std::byte*>(bytes.data()), bytes.size())));
    return bytes;
  }
  std::unique_ptr<StorageWorld> world_ = GetParam().make_world();
};

TEST_P(VolumeContractTest, ListsSortedFilesAndDirectoriesOnly) {
  world_->AddFile("b.safetensors", "b");
  world_->AddFile("a.safetensors", "a");
  world_->AddDirectory("c");
  world_->AddFifo("fifo");
  EXPECT_THAT(Names(""), ElementsAre("a.safetensors", "b.safetensors", "c/"));
  EXPECT_THAT(Names("c"), ElementsAre());
  EXPECT_THAT(volume().List("d", kEntriesMax),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("d")));
  EXPECT_THAT(volume().List("a.safetensors", kEntriesMax),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("a")));
}

TEST_P(VolumeContractTest, LooksAtFilesAndDirectories) {
  world_->AddFile("d/a", "abc");
  world_->AddSymlink("link", "d");
  world_->AddFifo("fifo");
  world_->AddSymlink("up", "../secret");
  ASSERT_OK_AND_ASSIGN(const PathFacts file, volume().Stat("link/a"));
  EXPECT_EQ(file.kind, DirEntry::Kind::kFile);
  ASSERT_OK_AND_ASSIGN(const auto opened, volume().Open("d/a"));
  EXPECT_EQ(file.identity, opened->identity());
  ASSERT_OK_AND_ASSIGN(const PathFacts directory, volume().Stat("d"));
  EXPECT_EQ(directory.kind, DirEntry::Kind::kDirectory);
  ASSERT_OK_AND_ASSIGN(const PathFacts linked, volume().Stat("link"));
  EXPECT_EQ(linked.identity.inode, directory.identity.inode);
  ASSERT_OK_AND_ASSIGN(const PathFacts root, volume().Stat(""));
  EXPECT_NE(root.identity.inode, directory.identity.inode);
  EXPECT_THAT(volume().Stat("nothing"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing")));
  EXPECT_THAT(volume().Stat("fifo"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("fifo")));
  EXPECT_THAT(volume().Stat("up"), ReasonIs(Reason::kPathOutsideRoot, HasSubstr("up")));
}

TEST_P(VolumeContractTest, ListingsSayWhichVolumeTheDirectoryLiesOn) {
  ASSERT_OK_AND_ASSIGN(const DirListing listing, volume().List("", kEntriesMax));
  ASSERT_OK_AND_ASSIGN(const PathFacts facts, volume().Stat(""));
  EXPECT_EQ(listing.device, facts.identity.device);
}

TEST_P(VolumeContractTest, ListsNoMoreEntriesThanAreWanted) {
  for (const char* path : {"d/a", "d/b", "d/c"}) world_->AddFile(path, "x");
  ASSERT_OK_AND_ASSIGN(const DirListing whole, volume().List("d", 3));
  EXPECT_TRUE(whole.is_whole);
  EXPECT_EQ(whole.entries.size(), 3u);
  ASSERT_OK_AND_ASSIGN(const DirListing part, volume().List("d", 2));
  EXPECT_FALSE(part.is_whole);
  EXPECT_EQ(part.entries.size(), 2u);
}

// The shape of a Hugging Face cache: snapshots/<revision>/<file> -> ../../blobs/<hash>.
TEST_P(VolumeContractTest, FollowsSymlinksBelowTheRoot) {
  world_->AddFile("models--a--b/blobs/1234", "weights");
  world_->AddSymlink("models--a--b/snapshots/rev/model.safetensors", "../../blobs/1234");
  world_->AddSymlink("models--a--b/main", "snapshots/rev");
  EXPECT_EQ(ReadAll("models--a--b/snapshots/rev/model.safetensors"), "weights");
  EXPECT_EQ(ReadAll("models--a--b/main/model.safetensors"), "weights");
  ASSERT_OK_AND_ASSIGN(const auto file, volume().Open("models--a--b/main/model.safetensors"));
  EXPECT_EQ(file->real_name(), "1234");
  EXPECT_THAT(Names("models--a--b"), ElementsAre("blobs/", "main/", "snapshots/"));
  EXPECT_THAT(Names("models--a--b/main"), ElementsAre("model.safetensors"));
}

TEST_P(VolumeContractTest, LeavesOutSymlinksThatLeadNowhereOrOut) {
  world_->AddSymlink("dangling", "nothing");
  world_->AddSymlink("absolute", "/etc/passwd");
  world_->AddSymlink("up", "../secret");
  world_->AddSymlink("circle", "circle");
  world_->AddFile("model", "m");
  EXPECT_THAT(Names(""), ElementsAre("model"));
}

TEST_P(VolumeContractTest, RefusesToLeaveTheRoot) {
  world_->AddSymlink("absolute", "/etc/passwd");
  world_->AddSymlink("up", "../secret");
  world_->AddSymlink("dir/deep", "../../secret");
  world_->AddFile("dir/inside", "inside");
  for (const char* path :
       {"absolute", "up", "dir/deep", "../secret", "..", "dir/../../secret", "/etc/passwd", "/"}) {
    EXPECT_THAT(volume().Open(path), ReasonIs(Reason::kPathOutsideRoot, HasSubstr(path))) << path;
    EXPECT_EQ(volume().Open(path).status().code(), absl::StatusCode::kPermissionDenied) << path;
  }
  EXPECT_THAT(volume().List("..", kEntriesMax),
              ReasonIs(Reason::kPathOutsideRoot, HasSubstr("..")));
  EXPECT_THAT(volume().List("/", kEntriesMax), ReasonIs(Reason::kPathOutsideRoot, HasSubstr("/")));
  EXPECT_EQ(ReadAll("dir/../dir/inside"), "inside");
}

TEST_P(VolumeContractTest, OpensRegularFilesOnly) {
  world_->AddFifo("fifo");
  world_->AddDirectory("directory");
  world_->AddSymlink("circle", "circle");
  world_->AddFile("file", "f");
  for (const char* path : {"fifo", "directory", "", ".", "circle"}) {
    EXPECT_THAT(volume().Open(path), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path)));
  }
  for (const char* path : {"fifo", "directory"}) {
    EXPECT_THAT(volume().Open(path),
                ReasonIs(Reason::kCheckpointInvalid, HasSubstr("not a regular file")));
  }
  EXPECT_THAT(volume().Open(absl::string_view("file\0x", 6)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NUL")));
  EXPECT_THAT(volume().Open("missing"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
  EXPECT_THAT(volume().Open("missing/file"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("")));
  EXPECT_THAT(volume().Open("file/below"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("")));
}

TEST_P(VolumeContractTest, FileTellsWhatItIs) {
  world_->AddFile("dir/file", PatternBytes(5000));
  ASSERT_OK_AND_ASSIGN(const auto file, volume().Open("dir/file"));
  EXPECT_EQ(file->path(), "dir/file");
  EXPECT_EQ(file->real_name(), "file");
  EXPECT_EQ(file->identity().size_bytes, 5000U);
  EXPECT_NE(file->identity().inode, 0U);
  ASSERT_OK_AND_ASSIGN(const auto again, volume().Open("dir/file"));
  EXPECT_EQ(again->identity(), file->identity());
  const uint32_t alignment = file->direct_alignment();
  EXPECT_EQ(alignment & (alignment - 1), 0U);
}

TEST_P(VolumeContractTest, ReadAtGivesExactlyTheRangeOrAnError) {
  world_->AddFile("file", PatternBytes(10'000));
  ASSERT_OK_AND_ASSIGN(const auto file, volume().Open("file"));
  std::string bytes(3000, '\0');
  const auto span = absl::MakeSpan(reinterpret_cast<std::byte*>(bytes.data()), bytes.size());
  ASSERT_OK(file->ReadAt(7000, span));
  EXPECT_EQ(bytes, PatternBytes(3000, 7000));
  EXPECT_OK(file->ReadAt(20'000, {}));
  EXPECT_THAT(file->ReadAt(7001, span),
              AllOf(StatusIs(absl::StatusCode::kDataLoss,
                             "read file at 7001: file ends after 2999 of 3000 bytes"),
                    ReasonIs(Reason::kReadFailed, HasSubstr(""))));
  EXPECT_THAT(file->ReadAt(UINT64_MAX, span), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("")));
  world_->Truncate("file", 8000);
  EXPECT_THAT(file->ReadAt(7000, span),
              ReasonIs(Reason::kCheckpointChanged,
                       "read file at 7000: file ends after 1000 of 3000 bytes"));
}

TEST_P(VolumeContractTest, OpenFileOutlivesItsNameAndItsVolume) {
  world_->AddFile("file", "first");
  ASSERT_OK_AND_ASSIGN(const auto file, volume().Open("file"));
  world_->AddFile("file", "other");
  world_.reset();
  std::string bytes(5, '\0');
  ASSERT_OK(file->ReadAt(0, absl::MakeSpan(reinterpret_cast<std::byte*>(bytes.data()), 5)));
  EXPECT_EQ(bytes, "first");
  EXPECT_THAT(file->CheckUnchanged(), Not(IsOk()));
}

// Each way in which a checkpoint changes under a reader, and what the message names.
TEST_P(VolumeContractTest, CheckUnchangedSaysWhatChanged) {
  using Change = void (*)(StorageWorld&);
  const std::vector<std::pair<Change, std::string>> changes = {
      {[](StorageWorld& world) { world.AddFile("file", "0123456789"); }, "inode"},
      {[](StorageWorld& world) { world.Write("file", 10, "more"); }, "size 10 -> 14"},
      {[](StorageWorld& world) { world.Truncate("file", 4); }, "size 10 -> 4"},
      {[](StorageWorld& world) { world.Touch("file"); }, "mtime_ns"},
      {[](StorageWorld& world) { world.Remove("file"); }, "changed since it was opened"},
      {[](StorageWorld& world) {
         world.Remove("file");
         world.AddSymlink("file", "/etc/passwd");
       },
       "leads out of"},
      {[](StorageWorld& world) {
         world.Remove("file");
         world.AddFifo("file");
       },
       "inode"},
  };
  for (const auto& [change, text] : changes) {
    world_ = GetParam().make_world();
    world_->AddFile("file", "0123456789");
    ASSERT_OK_AND_ASSIGN(const auto file, volume().Open("file"));
    EXPECT_OK(file->CheckUnchanged());
    change(*world_);
    EXPECT_THAT(file->CheckUnchanged(),
                AllOf(StatusIs(absl::StatusCode::kAborted, HasSubstr("file")),
                      ReasonIs(Reason::kCheckpointChanged, HasSubstr(text))));
  }
}

// A symlink that is turned to another blob is another checkpoint, though no file changed.
TEST_P(VolumeContractTest, CheckUnchangedFollowsTheSymlinkAgain) {
  world_->AddFile("blobs/1", "weights");
  world_->AddFile("blobs/2", "weights");
  world_->AddSymlink("model", "blobs/1");
  ASSERT_OK_AND_ASSIGN(const auto file, volume().Open("model"));
  EXPECT_OK(file->CheckUnchanged());
  world_->Remove("model");
  world_->AddSymlink("model", "blobs/2");
  EXPECT_THAT(file->CheckUnchanged(), ReasonIs(Reason::kCheckpointChanged, HasSubstr("inode")));
}

INSTANTIATE_TEST_SUITE_P(AllVolumes, VolumeContractTest,
                         ::testing::Values(VolumeCase{"Posix", &MakePosixWorld},
                                           VolumeCase{"Guarded", &MakeGuardedWorld},
                                           VolumeCase{"Memory", &MakeMemoryWorld}),
                         [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace weightd::testing
