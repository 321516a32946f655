#include "daemon/staging/mode_choice.h"

#include "tests/support/common/status_matchers.h"
#include "tests/support/storage/descriptor_file.h"
#include "tests/support/storage/memory_volume.h"

namespace weightd::testing {
namespace {

constexpr uint64_t kFileBytes = 3 * kWindowBytes + 1000;

std::shared_ptr<File> SparseFile(MemoryVolume& volume) {
  volume.AddFile("file", "");
  volume.Truncate("file", kFileBytes);
  return *volume.Open("file");
}

TEST(ModeChoiceTest, WindowInThePageCacheIsReadOutOfIt) {
  MemoryVolume volume;
  const auto file = SparseFile(volume);
  volume.Cache("file", kWindowBytes, kWindowBytes);
  volume.Cache("file", 3 * kWindowBytes, 1000);
  const auto reason_at = [&](uint64_t offset) { return ChooseMode(*file, offset).reason; };
  EXPECT_EQ(reason_at(0), ModeReason::kNotCached);
  EXPECT_EQ(reason_at(kWindowBytes - 4096), ModeReason::kNotCached);
  EXPECT_EQ(reason_at(kWindowBytes), ModeReason::kCached);
  EXPECT_EQ(reason_at(2 * kWindowBytes - 1), ModeReason::kCached);
  EXPECT_EQ(reason_at(2 * kWindowBytes), ModeReason::kNotCached);
  EXPECT_EQ(reason_at(kFileBytes - 1), ModeReason::kCached) << "the last window is a short one";
  EXPECT_EQ(ChooseMode(*file, 0).mode, ReadMode::kDirect);
  EXPECT_EQ(ChooseMode(*file, kWindowBytes).mode, ReadMode::kBuffered);
}

TEST(ModeChoiceTest, FileWithoutDirectReadsIsReadThroughThePageCache) {
  for (const uint32_t alignment : {0, 8192}) {
    MemoryVolume volume(alignment);
    const ModeChoice choice = ChooseMode(*SparseFile(volume), 0);
    EXPECT_EQ(choice.mode, ReadMode::kBuffered);
    EXPECT_EQ(choice.reason, ModeReason::kNoDirect);
  }
}

TEST(ModeChoiceTest, WhereNobodyCanTellReadsAreDirect) {
  const DescriptorFile file(UniqueFd(), UniqueFd(), 1000, 512);
  const ModeChoice choice = ChooseMode(file, 0);
  EXPECT_EQ(choice.mode, ReadMode::kDirect);
  EXPECT_EQ(choice.reason, ModeReason::kCacheUnknown);
}

}  // namespace
}  // namespace weightd::testing
