#include "daemon/device/host_memory.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/common/temp_dir.h"

namespace weightd {
namespace {

void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

TEST(HostMemoryTest, ReadsWhetherSharedMemoryMayHaveHugePages) {
  EXPECT_TRUE(ShmemHugePagesAllowed("always within_size [advise] never deny force\n"));
  EXPECT_TRUE(ShmemHugePagesAllowed("[always] within_size advise never deny force\n"));
  EXPECT_FALSE(ShmemHugePagesAllowed("always within_size advise [never] deny force\n"));
  EXPECT_FALSE(ShmemHugePagesAllowed("always within_size advise never [deny] force\n"));
  EXPECT_FALSE(ShmemHugePagesAllowed(""));
}

TEST(HostMemoryTest, FindsTheCgroupOfEitherVersion) {
  using enum CgroupVersion;
  EXPECT_EQ(ParseCgroupPath("12:cpu:/x\n0::/kubepods/pod1\n", kV2), "/kubepods/pod1");
  EXPECT_EQ(ParseCgroupPath("12:cpu:/x\n", kV2), std::nullopt);
  EXPECT_EQ(ParseCgroupPath("12:cpu:/x\n4:hugetlb,memory:/a:b\n0::/y\n", kV1), "/a:b");
  EXPECT_EQ(ParseCgroupPath("12:cpu:/x\n1:name=memory:/y\n0::/\n", kV1), std::nullopt);
  EXPECT_EQ(ParseCgroupPath("", kV1), std::nullopt);
}

HostMemory FiveMegabytes() {
  HostMemory memory;
  memory.total_bytes = 5000000;
  memory.available_bytes = 4000000;
  return memory;
}

// A pod's limit is what counts, even when it stands above the cgroup of the process. The page cache
// is no obstacle.
TEST(HostMemoryTest, CgroupLimitsLowerWhatIsAvailable) {
  const testing::TempDir root;
  std::filesystem::create_directories(root.File("pod/container"));
  Write(root.File("pod/memory.max"), "1000000\n");
  Write(root.File("pod/memory.current"), "700000\n");
  Write(root.File("pod/memory.stat"), "anon 1\ninactive_file 90000\nactive_file 10000\n");
  Write(root.File("pod/container/memory.max"), "max\n");
  Write(root.File("pod/container/memory.current"), "700000\n");
  HostMemory memory = FiveMegabytes();
  ApplyCgroupLimits(root.path(), "/pod/container", CgroupVersion::kV2, memory);
  EXPECT_EQ(memory.total_bytes, 1000000);
  EXPECT_EQ(memory.available_bytes, 400000);
}

// Version 1 counts a cgroup's children under keys of their own. The path is the node's, and what
// the container sees there is its own cgroup, as the root.
TEST(HostMemoryTest, CgroupLimitsOfVersion1) {
  const testing::TempDir root;
  Write(root.File("memory.limit_in_bytes"), "1000000\n");
  Write(root.File("memory.usage_in_bytes"), "700000\n");
  Write(root.File("memory.stat"),
        "inactive_file 1\nactive_file 1\ntotal_inactive_file 90000\ntotal_active_file 10000\n");
  HostMemory memory = FiveMegabytes();
  ApplyCgroupLimits(root.path(), "/docker/0123", CgroupVersion::kV1, memory);
  EXPECT_EQ(memory.total_bytes, 1000000);
  EXPECT_EQ(memory.available_bytes, 400000);
}

TEST(HostMemoryTest, CgroupWithoutLimitsChangesNothing) {
  const testing::TempDir root;
  HostMemory memory = FiveMegabytes();
  for (const CgroupVersion version : {CgroupVersion::kV1, CgroupVersion::kV2}) {
    ApplyCgroupLimits(root.path(), "/absent/too", version, memory);
    ApplyCgroupLimits(root.path(), "/", version, memory);
  }
  Write(root.File("memory.limit_in_bytes"), "9223372036854771712\n");
  Write(root.File("memory.usage_in_bytes"), "700000\n");
  ApplyCgroupLimits(root.path(), "/", CgroupVersion::kV1, memory);
  EXPECT_EQ(memory.total_bytes, 5000000);
  EXPECT_EQ(memory.available_bytes, 4000000);
}

TEST(HostMemoryTest, ThisMachineHasMemory) {
  const HostMemory memory = ReadHostMemory();
  EXPECT_GT(memory.total_bytes, 0);
  EXPECT_GT(memory.available_bytes, 0);
  EXPECT_LE(memory.available_bytes, memory.total_bytes);
}

}  // namespace
}  // namespace weightd
