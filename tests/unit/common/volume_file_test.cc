#include "common/volume_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/types/span.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {
namespace {

using ::testing::HasSubstr;

bool IsOpenHere(const std::string& path) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (std::filesystem::read_symlink(entry.path(), error) == path) return true;
  }
  return false;
}

TEST(VolumeFileTest, WritesAndReadsWhatIsThere) {
  const TempDir dir;
  const std::string path = dir.File("file");
  {
    auto file = VolumeFile::Open(path, O_WRONLY | O_CREAT, 0600, path);
    ASSERT_OK(file);
    EXPECT_EQ(file->Write("content"), 7);
    EXPECT_EQ(file->Sync(), 0);
    EXPECT_TRUE(IsOpenHere(path));
    const VolumeFile moved = *std::move(file);
    EXPECT_TRUE(IsOpenHere(path));
  }
  EXPECT_FALSE(IsOpenHere(path));
  struct stat facts {};
  ASSERT_EQ(::stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600);
  std::string text(20, '\0');
  ASSERT_OK_AND_ASSIGN(const size_t bytes, ReadVolumeFile(path, absl::MakeSpan(text), "file"));
  EXPECT_EQ(text.substr(0, bytes), "content");
  std::string part(4, '\0');
  ASSERT_OK_AND_ASSIGN(const size_t filled, ReadVolumeFile(path, absl::MakeSpan(part), "file"));
  EXPECT_EQ(part.substr(0, filled), "cont");
}

TEST(VolumeFileTest, SaysWhatCouldNotBeDone) {
  const TempDir dir;
  std::string text(4, '\0');
  EXPECT_THAT(ReadVolumeFile(dir.File("none"), absl::MakeSpan(text), "key file k").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("open key file k: No such file")));
  const absl::Status directory =
      ReadVolumeFile(dir.path(), absl::MakeSpan(text), "key file k").status();
  EXPECT_TRUE(absl::StartsWith(directory.message(), "read key file k: Is a directory"))
      << directory;
}

TEST(VolumeFileTest, NamesAreMadeMovedAndRemoved) {
  const TempDir dir;
  ASSERT_EQ(VolumeMkdir(dir.File("a"), 0700), 0);
  EXPECT_EQ(VolumeMkdir(dir.File("a"), 0700), -1);
  EXPECT_EQ(errno, EEXIST);
  ASSERT_OK(VolumeFile::Open(dir.File("a/x"), O_WRONLY | O_CREAT, 0600, "x"));
  EXPECT_EQ(VolumeRename(dir.File("a/x"), dir.File("a/y")), 0);
  EXPECT_EQ(VolumeUnlink(dir.File("a/x")), -1);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(VolumeUnlink(dir.File("a/y")), 0);
  EXPECT_TRUE(std::filesystem::is_empty(dir.File("a")));
}

}  // namespace
}  // namespace weightd::testing
