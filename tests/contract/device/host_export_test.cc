// Host exports as a client sees them: from another process, which may try to change them.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "common/align.h"
#include "daemon/device/device.h"
#include "tests/contract/device/checksum.h"
#include "tests/contract/device/device_harness.h"
#include "tests/contract/device/peer_process.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr uint64_t kBytes = 2 * kMiB;

std::unique_ptr<Allocation> Sealed(Device& device, uint64_t seed) {
  auto allocation = *device.Allocate(kBytes);
  FillPattern(allocation->host_memory(), seed);
  EXPECT_OK(allocation->Seal());
  return allocation;
}

TEST(HostExportTest, AnotherProcessReadsTheBytesAndCannotChangeThem) {
  const auto device = CreateHostDevice({});
  const auto allocation = Sealed(*device, 42);
  ASSERT_OK_AND_ASSIGN(const Export exported, allocation->CreateExport());
  PeerProcess peer({"fd"}, {}, exported.fd.get());
  const std::string output = peer.Finish();
  EXPECT_EQ(ValueOf(output, "bytes"), std::to_string(kBytes));
  EXPECT_EQ(ValueOf(output, "map_shared"), "OK");
  const std::vector<std::byte> wanted = Pattern(kBytes, 42);
  EXPECT_EQ(ValueOf(output, "sum"), std::to_string(Checksum(wanted.data(), wanted.size())));
  EXPECT_THAT(ValueOf(output, "map_writable"), AnyOf("EPERM", "EACCES"));
  EXPECT_THAT(ValueOf(output, "shrink"), AnyOf("EPERM", "EINVAL"));  // EINVAL: read-only
  EXPECT_THAT(ValueOf(output, "grow"), AnyOf("EPERM", "EINVAL"));
  EXPECT_THAT(ValueOf(output, "write"), AnyOf("EPERM", "EBADF"));
  EXPECT_EQ(ValueOf(output, "rewrite"), "EPERM") << "the seals hold, not the descriptor alone";
  EXPECT_EQ(ValueOf(output, "reshrink"), "EPERM");
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  EXPECT_EQ(ValueOf(output, "seals"), std::to_string(kSeals));
}

TEST(HostExportTest, MemoryOutlivesTheAllocationWhileADescriptorIsOpen) {
  const auto device = CreateHostDevice({});
  auto allocation = Sealed(*device, 7);
  ASSERT_OK_AND_ASSIGN(const Export exported, allocation->CreateExport());
  allocation.reset();
  PeerProcess peer({"fd"}, {}, exported.fd.get());
  const std::vector<std::byte> wanted = Pattern(kBytes, 7);
  EXPECT_EQ(ValueOf(peer.Finish(), "sum"), std::to_string(Checksum(wanted.data(), wanted.size())));
}

TEST(HostExportTest, ExportsAreCloseOnExecAndOfTheirOwn) {
  const auto device = CreateHostDevice({});
  const auto allocation = Sealed(*device, 1);
  ASSERT_OK_AND_ASSIGN(const Export first, allocation->CreateExport());
  ASSERT_OK_AND_ASSIGN(const Export second, allocation->CreateExport());
  EXPECT_NE(first.fd.get(), second.fd.get());
  EXPECT_NE(::fcntl(first.fd.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(HostDeviceTest, RefusesWhatWouldLeaveTooLittleMemory) {
  HostDeviceOptions options;
  options.headroom_bytes = uint64_t{1} << 50;
  const auto device = CreateHostDevice(options);
  EXPECT_THAT(device->Allocate(kBytes),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("are free")));
}

TEST(HostDeviceTest, WorksWithSmallPages) {
  HostDeviceOptions options;
  options.huge_pages = HostDeviceOptions::HugePages::kOff;
  const auto device = CreateHostDevice(options);
  EXPECT_THAT(device->warnings(), ::testing::IsEmpty());
  const auto allocation = Sealed(*device, 3);
  EXPECT_EQ(allocation->bytes(), kBytes);
}

// The pages are there before the first write: a write cannot meet SIGBUS later.
TEST(HostDeviceTest, MakesItsPagesByItself) {
  const auto device = CreateHostDevice({});
  const auto allocation = *device->Allocate(kBytes);
  uint64_t ready = 0;
  while (ready < kBytes) {
    ASSERT_OK_AND_ASSIGN(ready, allocation->ready_bytes());
  }
  std::vector<unsigned char> residency(kBytes / 4096);
  ASSERT_EQ(::mincore(allocation->host_memory().data(), kBytes, residency.data()), 0);
  for (const unsigned char page : residency) ASSERT_EQ(page & 1, 1);
}

}  // namespace
}  // namespace weightd::testing
