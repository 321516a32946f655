#ifndef WEIGHTD_DAEMON_STAGING_MODE_CHOICE_H_
#define WEIGHTD_DAEMON_STAGING_MODE_CHOICE_H_

#include <cstdint>

#include "daemon/storage/volume.h"

// Whether a window of a file is read past the page cache or through it, and why:
//
//   the file takes no direct reads, or wants more than 4096 alignment   buffered
//   the window is in the page cache, or assumed to be                   buffered: a copy
//   it is not, or nobody can tell                                       direct
//
// Thread-safe: a pure function of what the file says.

namespace weightd {

// One look at the page cache is for this many bytes of a file.
inline constexpr uint64_t kWindowBytes = uint64_t{64} << 20;

enum class ModeReason { kNoDirect, kCached, kNotCached, kCacheUnknown };

struct ModeChoice {
  ReadMode mode = ReadMode::kDirect;
  ModeReason reason = ModeReason::kNotCached;
};

// For the window that holds `offset`.
ModeChoice ChooseMode(const File& file, uint64_t offset);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STAGING_MODE_CHOICE_H_
