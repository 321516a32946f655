#include "daemon/storage/read_speed.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd {
namespace {

class ReadSpeedTest : public ::testing::Test {
 protected:
  std::shared_ptr<File> MakeFile(uint64_t bytes) {
    std::ofstream(dir_.File("f"), std::ios::binary) << std::string(bytes, 'x');
    auto volume = OpenVolume(dir_.path());
    EXPECT_OK(volume);
    auto file = (*volume)->Open("f");
    EXPECT_OK(file);
    return *file;
  }
  weightd::testing::TempDir dir_;
};

TEST_F(ReadSpeedTest, ReadsWholeFilesOfAnySize) {
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{4096}, uint64_t{(9 << 20) + 5}}) {
    const auto file = MakeFile(bytes);
    const auto speed = MeasureReadSpeed(*file, {});
    ASSERT_OK(speed);
    EXPECT_EQ(speed->bytes, bytes);
    EXPECT_GT(speed->time, absl::ZeroDuration());
    EXPECT_NE(speed->engine, "");
    EXPECT_EQ(speed->direct, file->direct_alignment() > 0);
  }
}

TEST_F(ReadSpeedTest, EndsAtItsLimits) {
  const auto file = MakeFile(uint64_t{20} << 20);
  const auto few = MeasureReadSpeed(*file, {.bytes_max = 6 << 20});
  ASSERT_OK(few);
  EXPECT_EQ(few->bytes, 6u << 20);
  const auto none = MeasureReadSpeed(*file, {.time_max = absl::ZeroDuration()});
  ASSERT_OK(none);
  EXPECT_EQ(none->bytes, 0u);
}

TEST_F(ReadSpeedTest, AFileThatBecameShorterIsAnError) {
  const auto file = MakeFile(uint64_t{6} << 20);
  std::filesystem::resize_file(dir_.File("f"), 4096);
  EXPECT_FALSE(MeasureReadSpeed(*file, {}).ok());
}

}  // namespace
}  // namespace weightd
