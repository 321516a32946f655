#include "daemon/storage/tree_watch.h"

#include <poll.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::_;
using ::testing::HasSubstr;

class TreeWatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(dir_.File("models/a"));
    Watch({});
  }
  void Watch(const TreeWatchOptions& options) {
    auto made = TreeWatch::Create(dir_.path(), FileSystemKind::kLocal, options);
    ASSERT_OK(made);
    watch_ = *std::move(made);
  }
  // The kernel has told when the call that made the change returns.
  bool Hinted() {
    pollfd fd = {.fd = watch_->descriptor(), .events = POLLIN, .revents = 0};
    const bool readable = ::poll(&fd, 1, 0) == 1;
    const auto taken = watch_->Take();
    EXPECT_OK(taken);
    EXPECT_EQ(readable, *taken);
    return *taken;
  }
  void Write(const std::string& path) const { std::ofstream(dir_.File(path)) << "x"; }

  TempDir dir_;
  std::unique_ptr<TreeWatch> watch_;
};

TEST_F(TreeWatchTest, TellsOfFilesThatAreWrittenRenamedAndRemoved) {
  EXPECT_FALSE(Hinted());
  Write("models/a/w.safetensors");
  EXPECT_TRUE(Hinted());
  EXPECT_FALSE(Hinted());
  fs::rename(dir_.File("models/a/w.safetensors"), dir_.File("models/a/v.safetensors"));
  EXPECT_TRUE(Hinted());
  std::ofstream(dir_.File("models/a/v.safetensors"), std::ios::app) << "y";
  EXPECT_TRUE(Hinted());
  fs::remove(dir_.File("models/a/v.safetensors"));
  EXPECT_TRUE(Hinted());
}

TEST_F(TreeWatchTest, ReadingIsNoHint) {
  Write("models/a/w");
  EXPECT_TRUE(Hinted());
  std::ifstream file(dir_.File("models/a/w"));
  EXPECT_EQ(file.get(), 'x');
  file.close();
  EXPECT_FALSE(Hinted());
}

TEST_F(TreeWatchTest, DirectoriesThatComeAreWatchedWithAllBelowThem) {
  fs::create_directories(dir_.File("new/b/c"));
  EXPECT_TRUE(Hinted());
  Hinted();  // those below the new one may have told of themselves
  Write("new/b/c/w");
  EXPECT_TRUE(Hinted());
  TempDir other;
  fs::create_directories(other.File("moved/d"));
  fs::rename(other.File("moved"), dir_.File("moved"));
  EXPECT_TRUE(Hinted());
  Write("moved/d/w");
  EXPECT_TRUE(Hinted());
  fs::remove_all(dir_.File("moved"));
  EXPECT_TRUE(Hinted());
}

TEST_F(TreeWatchTest, LooksNoDeeperThanTheCatalog) {
  Watch({.depth_max = 1});
  Write("models/w");
  EXPECT_TRUE(Hinted());
  Write("models/a/w");
  EXPECT_FALSE(Hinted());
}

TEST_F(TreeWatchTest, SaysWhyItCannotWatch) {
  EXPECT_THAT(TreeWatch::Create(dir_.path(), FileSystemKind::kNetwork, {}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("network volume")));
  EXPECT_THAT(TreeWatch::Create(dir_.path(), FileSystemKind::kFuse, {}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("FUSE")));
  EXPECT_THAT(TreeWatch::Create(dir_.File("nowhere"), FileSystemKind::kLocal, {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere")));
  EXPECT_THAT(TreeWatch::Create(dir_.path(), FileSystemKind::kLocal, {.directories_max = 2}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("more than 2 directories")));
}

TEST_F(TreeWatchTest, EndsAtTheLimitOfDirectories) {
  Watch({.directories_max = 4});
  fs::create_directory(dir_.File("fourth"));
  EXPECT_TRUE(Hinted());
  fs::create_directory(dir_.File("fifth"));
  EXPECT_THAT(watch_->Take(), StatusIs(absl::StatusCode::kResourceExhausted, _));
}

}  // namespace
}  // namespace weightd::testing
