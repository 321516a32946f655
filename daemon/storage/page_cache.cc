#include "daemon/storage/page_cache.h"

#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace weightd {
namespace {

// cachestat(2), which Debian 12's headers do not know. The number is the same everywhere.
constexpr long kCachestatCall = 451;
struct CachestatRange {
  uint64_t offset = 0;
  uint64_t length = 0;
};
struct Cachestat {
  uint64_t cached = 0;  // pages
  uint64_t dirty = 0;
  uint64_t writeback = 0;
  uint64_t evicted = 0;
  uint64_t recently_evicted = 0;
};

// A range counts as cached when at most one page in this many is missing: to read a few from the
// volume costs less than to read all of it past the cache.
constexpr uint64_t kMissingShare = 32;

// f_type of statfs(2) of what comes over a network; FUSE is what most object stores are mounted by.
// Those without a name in linux/magic.h are of their clients' sources.
constexpr uint64_t kLustre = 0x0BD00BD0;
constexpr uint64_t kBeeGfs = 0x19830326;
constexpr uint64_t kGpfs = 0x47504653;
constexpr std::array<uint64_t, 10> kRemote = {
    NFS_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC, CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC,
    V9FS_MAGIC,      FUSE_SUPER_MAGIC, kLustre,          kBeeGfs,          kGpfs};

}  // namespace

std::optional<uint64_t> CachedPages(int fd, uint64_t offset, uint64_t length) {
  const CachestatRange range = {.offset = offset, .length = length};
  Cachestat found;
  if (::syscall(kCachestatCall, fd, &range, &found, 0) != 0) return std::nullopt;
  return found.cached;
}

bool IsRemoteFileSystem(int fd) {
  struct statfs facts {};
  if (::fstatfs(fd, &facts) != 0) return false;
  // f_type is signed, and some of the numbers have the highest bit.
  const auto type = static_cast<uint32_t>(facts.f_type);
  return std::find(kRemote.begin(), kRemote.end(), type) != kRemote.end();
}

CacheLook JudgeCache(uint64_t file_system, std::optional<uint64_t> cached_pages, uint64_t pages) {
  if (file_system == TMPFS_MAGIC || file_system == RAMFS_MAGIC) return {.cached = true};
  if (file_system == OVERLAYFS_SUPER_MAGIC || !cached_pages.has_value()) return {};
  return {.cached = *cached_pages + pages / kMissingShare >= pages, .known = true};
}

CacheLook LookInPageCache(int fd, uint64_t offset, uint64_t length) {
  struct statfs facts {};
  if (length == 0 || ::fstatfs(fd, &facts) != 0) return {};
  static const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t pages = (offset + length - 1) / page_bytes - offset / page_bytes + 1;
  return JudgeCache(static_cast<uint64_t>(facts.f_type), CachedPages(fd, offset, length), pages);
}

}  // namespace weightd
