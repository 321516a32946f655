#ifndef WEIGHTD_TESTS_SUPPORT_COMMON_DROP_FROM_CACHE_H_
#define WEIGHTD_TESTS_SUPPORT_COMMON_DROP_FROM_CACHE_H_

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "common/unique_fd.h"

namespace weightd::testing {

// Writes the file out and takes its pages from the page cache, so that the next read is cold. False
// when that fails.
inline bool DropFromPageCache(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd.valid() && ::fdatasync(fd.get()) == 0 &&
         ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED) == 0;
}

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_COMMON_DROP_FROM_CACHE_H_
