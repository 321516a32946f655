#include "daemon/device/host_allocation.h"

#include <sys/mman.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "absl/strings/match.h"
#include "common/align.h"
#include "daemon/device/host_memory.h"
#include "tests/support/common/status_matchers.h"

namespace weightd {
namespace {

using ::testing::_;
using testing::StatusIs;

// Where nobody reserved them, huge pages are refused with an error, not with SIGBUS at a write.
TEST(HostAllocationTest, ReservedHugePagesAreGivenOrRefused) {
  const uint64_t free_bytes = ReadHostMemory().free_huge_bytes;
  const auto allocation = HostAllocation::Create(free_bytes + 2 * kMiB, HostPages::kHugetlb);
  EXPECT_THAT(allocation, StatusIs(absl::StatusCode::kResourceExhausted, _));
}

TEST(HostAllocationTest, TransparentHugePagesAreAHint) {
  auto allocation = HostAllocation::Create(4 * kMiB, HostPages::kTransparentHuge);
  ASSERT_OK(allocation);
  const absl::Span<std::byte> memory = (*allocation)->host_memory();
  ASSERT_EQ(memory.size(), 4 * kMiB);
  std::memset(memory.data(), 1, memory.size());
  EXPECT_OK((*allocation)->Seal());
}

TEST(HostAllocationTest, PagesComeByThemselvesUntilAllAreThere) {
  const auto unmade = std::make_shared<std::atomic<uint64_t>>(0);
  auto allocation = HostAllocation::Create(64 * kMiB, HostPages::kSmall, unmade);
  ASSERT_OK(allocation);
  uint64_t before = 0;
  while (before < 64 * kMiB) {
    ASSERT_OK_AND_ASSIGN(const uint64_t ready, (*allocation)->ready_bytes());
    ASSERT_GE(ready, before);
    // What is ready is in memory: mincore(2) asks the page tables' file.
    std::vector<unsigned char> resident(ready / 4096 + 1);
    ASSERT_EQ(::mincore((*allocation)->host_memory().data(), ready, resident.data()), 0);
    for (uint64_t page = 0; page < ready / 4096; ++page) ASSERT_EQ(resident[page] & 1, 1);
    before = ready;
  }
  EXPECT_EQ(unmade->load(), 0u);
  EXPECT_OK((*allocation)->Seal());
}

TEST(HostAllocationTest, FreedBeforeItsPagesAreMadeItPromisesNothingMore) {
  const auto unmade = std::make_shared<std::atomic<uint64_t>>(0);
  ASSERT_OK(HostAllocation::Create(512 * kMiB, HostPages::kSmall, unmade));
  EXPECT_EQ(unmade->load(), 0u);
}

// The descriptor of the allocation in this process, found by its name; -1 if there is none.
int FindMemfd() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone);
    if (!gone && absl::StartsWith(target.string(), "/memfd:weightd ")) {
      return std::stoi(entry.path().filename());
    }
  }
  return -1;
}

// A second writable mapping stands for a read or a registration that still pins the pages.
TEST(HostAllocationTest, StaysWritableWhileItCannotBeSealed) {
  auto created = HostAllocation::Create(2 * kMiB, HostPages::kSmall);
  ASSERT_OK(created);
  Allocation& allocation = **created;
  void* other = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, FindMemfd(), 0);
  ASSERT_NE(other, MAP_FAILED);
  EXPECT_THAT(allocation.Seal(), StatusIs(absl::StatusCode::kFailedPrecondition, _));
  ASSERT_EQ(allocation.host_memory().size(), 2 * kMiB);
  allocation.host_memory()[0] = std::byte{7};
  EXPECT_THAT(allocation.CreateExport(), StatusIs(absl::StatusCode::kFailedPrecondition, _));
  ::munmap(other, 4096);
  EXPECT_OK(allocation.Seal());
  std::byte first{};
  EXPECT_OK(allocation.CopyOut(0, absl::MakeSpan(&first, 1)));
  EXPECT_EQ(first, std::byte{7});
}

}  // namespace
}  // namespace weightd
