#ifndef WEIGHTD_DAEMON_STORAGE_PAGE_CACHE_H_
#define WEIGHTD_DAEMON_STORAGE_PAGE_CACHE_H_

#include <cstdint>
#include <optional>

#include "daemon/storage/volume.h"

// What the page cache holds of a file, by cachestat(2), and what is assumed where that cannot tell:
//
//   file system         known by         assumed
//   tmpfs, ramfs        what it is       cached: its pages are the page cache
//   overlayfs           nobody           not cached: the pages belong to the file below
//   any other           cachestat(2)     without the call (Linux before 6.5, seccomp): not cached
//
// Thread-safe.

namespace weightd {

// Of the range in the open file `fd`, which is on `file_system` (file_system.h); see
// File::LookInCache.
CacheLook LookInPageCache(int fd, uint64_t file_system, uint64_t offset, uint64_t length);

// Pages of the range of the open file `fd` that the page cache has, as cachestat(2) counts them; a
// length of 0 is to the file's end. None, and errno says why, where the kernel does not tell.
std::optional<uint64_t> CachedPages(int fd, uint64_t offset, uint64_t length);

// The table above. `cached_pages` of `pages` is what the
// kernel said, if it did.
CacheLook JudgeCache(uint64_t file_system, std::optional<uint64_t> cached_pages, uint64_t pages);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_PAGE_CACHE_H_
