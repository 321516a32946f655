#include "daemon/storage/page_cache.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <string>

#include "common/unique_fd.h"
#include "daemon/storage/file_system.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd {
namespace {

constexpr uint64_t kExt4 = EXT4_SUPER_MAGIC;

TEST(PageCacheTest, NearlyAllPagesAreAll) {
  EXPECT_TRUE(JudgeCache(kExt4, 1000, 1000).cached);
  EXPECT_TRUE(JudgeCache(kExt4, 970, 1000).cached);
  EXPECT_FALSE(JudgeCache(kExt4, 960, 1000).cached);
  EXPECT_FALSE(JudgeCache(kExt4, 0, 1).cached);
  EXPECT_TRUE(JudgeCache(kExt4, 1, 1).cached);
  EXPECT_TRUE(JudgeCache(kExt4, 0, 1000).known);
}

TEST(PageCacheTest, WhatIsAssumedWhereTheKernelDoesNotTell) {
  EXPECT_FALSE(JudgeCache(kExt4, std::nullopt, 10).cached);
  EXPECT_FALSE(JudgeCache(kExt4, std::nullopt, 10).known);
  EXPECT_TRUE(JudgeCache(TMPFS_MAGIC, std::nullopt, 10).cached);
  EXPECT_TRUE(JudgeCache(RAMFS_MAGIC, 0, 10).cached);
  EXPECT_FALSE(JudgeCache(TMPFS_MAGIC, 10, 10).known);
  // The pages that a file of an overlay has there are not its own.
  EXPECT_FALSE(JudgeCache(OVERLAYFS_SUPER_MAGIC, 10, 10).cached);
  EXPECT_FALSE(JudgeCache(OVERLAYFS_SUPER_MAGIC, 10, 10).known);
}

TEST(PageCacheTest, SeesWhatTheKernelHas) {
  const testing::TempDir dir;
  const UniqueFd fd(::open(dir.File("file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const std::string bytes(1 << 20, 'x');
  ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  const uint64_t number = FileSystemNumber(fd.get());
  const CacheLook written = LookInPageCache(fd.get(), number, 0, bytes.size());
  if (!written.known) GTEST_SKIP() << "cachestat(2) does not tell here";
  EXPECT_TRUE(written.cached);
  ASSERT_EQ(::fdatasync(fd.get()), 0);
  ASSERT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_FALSE(LookInPageCache(fd.get(), number, 0, bytes.size()).cached);
  char byte = 0;
  ASSERT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM), 0);  // no read-ahead
  ASSERT_EQ(::pread(fd.get(), &byte, 1, 8192), 1);
  EXPECT_TRUE(LookInPageCache(fd.get(), number, 8192, 4096).cached);
  EXPECT_FALSE(LookInPageCache(fd.get(), number, 0, bytes.size()).cached);
}

TEST(PageCacheTest, MemoryIsAlwaysCached) {
  const UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  const uint64_t number = FileSystemNumber(fd.get());
  EXPECT_TRUE(LookInPageCache(fd.get(), number, 0, 1 << 20).cached);
  EXPECT_EQ(KindOfFileSystem(number), FileSystemKind::kLocal);
}

TEST(FileSystemTest, KnowsNetworksAndFuseByTheirNumbers) {
  EXPECT_EQ(KindOfFileSystem(kExt4), FileSystemKind::kLocal);
  EXPECT_EQ(KindOfFileSystem(OVERLAYFS_SUPER_MAGIC), FileSystemKind::kLocal);
  EXPECT_EQ(KindOfFileSystem(0), FileSystemKind::kFuse);  // its server need not tell
  EXPECT_EQ(KindOfFileSystem(NFS_SUPER_MAGIC), FileSystemKind::kNetwork);
  EXPECT_EQ(KindOfFileSystem(CIFS_SUPER_MAGIC), FileSystemKind::kNetwork);  // has the highest bit
  EXPECT_EQ(KindOfFileSystem(FUSE_SUPER_MAGIC), FileSystemKind::kFuse);
}

// An overlay's file is as local as the file below it: on a disk, or on nobody knows what.
TEST(FileSystemTest, WhatIsStackedOnWhatMayHangMayHang) {
  const UniqueFd disk(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const UniqueFd memory(::memfd_create("test", MFD_CLOEXEC));
  for (const uint64_t number : {OVERLAYFS_SUPER_MAGIC, ECRYPTFS_SUPER_MAGIC}) {
    EXPECT_EQ(KindOfFile(memory.get(), number, 1), FileSystemKind::kStacked);
    // Some have programs in memory.
    if (FileSystemNumber(disk.get()) != kExt4) continue;
    EXPECT_EQ(KindOfFile(disk.get(), number, 1), FileSystemKind::kLocal);
  }
  EXPECT_EQ(KindOfFile(disk.get(), kExt4, makedev(LOOP_MAJOR, 3)), FileSystemKind::kStacked);
  EXPECT_EQ(KindOfFile(disk.get(), kExt4, makedev(LOOP_MAJOR + 1, 3)), FileSystemKind::kLocal);
  EXPECT_TRUE(MayHang(FileSystemKind::kStacked));
  EXPECT_FALSE(IsRemote(FileSystemKind::kStacked));
}

TEST(FileSystemTest, TheNumberIsTheKernels) {
  const UniqueFd fd(::open("/proc", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(FileSystemNumber(fd.get()), uint64_t{PROC_SUPER_MAGIC});
  EXPECT_EQ(FileSystemNumber(-1), 0U);
}

TEST(PageCacheTest, WhatIsNoFileIsNotCached) {
  EXPECT_FALSE(LookInPageCache(-1, FileSystemNumber(-1), 0, 4096).cached);
}

}  // namespace
}  // namespace weightd
