#include "daemon/storage/page_cache.h"

#include <linux/magic.h>
#include <sys/syscall.h>
#include <unistd.h>

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

}  // namespace

std::optional<uint64_t> CachedPages(int fd, uint64_t offset, uint64_t length) {
  const CachestatRange range = {.offset = offset, .length = length};
  Cachestat found;
  if (::syscall(kCachestatCall, fd, &range, &found, 0) != 0) return std::nullopt;
  return found.cached;
}

CacheLook JudgeCache(uint64_t file_system, std::optional<uint64_t> cached_pages, uint64_t pages) {
  if (file_system == TMPFS_MAGIC || file_system == RAMFS_MAGIC) return {.cached = true};
  if (file_system == OVERLAYFS_SUPER_MAGIC || !cached_pages.has_value()) return {};
  return {.cached = *cached_pages + pages / kMissingShare >= pages, .known = true};
}

CacheLook LookInPageCache(int fd, uint64_t file_system, uint64_t offset, uint64_t length) {
  if (length == 0) return {};
  static const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t pages = (offset + length - 1) / page_bytes - offset / page_bytes + 1;
  return JudgeCache(file_system, CachedPages(fd, offset, length), pages);
}

}  // namespace weightd
