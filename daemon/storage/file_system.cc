#include "daemon/storage/file_system.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>

#include "common/volume_call.h"

namespace weightd {
namespace {

// Those without a name in linux/magic.h are of their clients' sources.
constexpr uint64_t kLustre = 0x0BD00BD0;
constexpr uint64_t kBeeGfs = 0x19830326;
constexpr uint64_t kGpfs = 0x47504653;
constexpr std::array<uint64_t, 9> kNetwork = {NFS_SUPER_MAGIC,  CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
                                              CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC,  V9FS_MAGIC,
                                              kLustre,          kBeeGfs,          kGpfs};

// Whether the kernel knows where on a disk the bytes of `fd` lie. An overlay asks the file below
// (ovl_fiemap()), and of what is not on a disk (FUSE, networks, memory) nobody can say.
bool HasExtents(int fd) {
  struct fiemap map {};
  map.fm_length = 1;  // and no room for an extent: only whether it can be asked
  return VolumeCall(SYS_ioctl, fd, FS_IOC_FIEMAP, reinterpret_cast<long>(&map)) == 0;
}

}  // namespace

uint64_t FileSystemNumber(int fd) {
  struct statfs facts {};
  if (VolumeCall(SYS_fstatfs, fd, reinterpret_cast<long>(&facts)) != 0) return 0;
  // f_type is signed, and some of the numbers have the highest bit.
  return static_cast<uint32_t>(facts.f_type);
}

FileSystemKind KindOfFileSystem(uint64_t number) {
  if (number == FUSE_SUPER_MAGIC || number == 0) return FileSystemKind::kFuse;
  return std::find(kNetwork.begin(), kNetwork.end(), number) != kNetwork.end()
             ? FileSystemKind::kNetwork
             : FileSystemKind::kLocal;
}

FileSystem FileSystemOf(int fd, uint64_t device) {
  const uint64_t number = FileSystemNumber(fd);
  return {.number = number, .kind = KindOfFile(fd, number, device)};
}

FileSystemKind KindOfFile(int fd, uint64_t number, uint64_t device) {
  const bool is_stack = number == OVERLAYFS_SUPER_MAGIC || number == ECRYPTFS_SUPER_MAGIC;
  if (is_stack && !HasExtents(fd)) return FileSystemKind::kStacked;
  if (gnu_dev_major(device) == LOOP_MAJOR) return FileSystemKind::kStacked;
  return KindOfFileSystem(number);
}

}  // namespace weightd
