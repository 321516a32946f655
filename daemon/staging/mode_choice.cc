#include "daemon/staging/mode_choice.h"

#include <algorithm>

#include "common/align.h"
#include "daemon/staging/layout.h"

namespace weightd {

ModeChoice ChooseMode(const File& file, uint64_t offset) {
  if (file.direct_alignment() == 0 || file.direct_alignment() > kCongruenceModulus) {
    return {.mode = ReadMode::kBuffered, .reason = ModeReason::kNoDirect};
  }
  const uint64_t begin = AlignDown(offset, kWindowBytes);
  const uint64_t end = std::min(begin + kWindowBytes, file.identity().size_bytes);
  const CacheLook look = file.LookInCache(begin, end - begin);
  if (look.cached) return {.mode = ReadMode::kBuffered, .reason = ModeReason::kCached};
  return {.mode = ReadMode::kDirect,
          .reason = look.known ? ModeReason::kNotCached : ModeReason::kCacheUnknown};
}

}  // namespace weightd
