#include "daemon/storage/file_system.h"

#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

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

}  // namespace weightd
