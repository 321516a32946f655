#ifndef WEIGHTD_COMMON_WARNING_H_
#define WEIGHTD_COMMON_WARNING_H_

#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace weightd {

// What the daemon does without. The words travel with GetStatus and stand in the log: programs (and
// `weightctl doctor`) compare them, people read the text. All functions are thread-safe.
enum class WarningReason {
  kNoGpu,              // no driver, or no GPU that it shows
  kBuiltWithoutCuda,   // a GPU is here, and this program cannot use any
  kGpuNotUsed,         // one GPU, for what the text says
  kStateLost,          // pins and last uses of the daemon before this one
  kStateNotSaved,      // pins that will not outlive the daemon
  kSocketDirOpen,      // other users may enter it
  kNoIoUring,          // reads go through pread
  kIoUringFeature,     // that this kernel has not
  kIoUringBuffers,     // are not registered
  kIoUringFiles,       // likewise
  kFewThreads,         // for the pread engine
  kSmallPages,         // of host memory
  kHugePagesRefused,   // reserved ones, that the kernel did not give
  kHugePagesTooFew,    // reserved ones
  kMemoryLost,         // until the daemon restarts
  kMemoryStaysPinned,  // likewise
  kInternal,           // a fault of this program, which goes on
};

struct Warning {
  WarningReason reason = WarningReason::kInternal;
  std::string text;
  friend bool operator==(const Warning&, const Warning&) = default;
};
using Warnings = std::vector<Warning>;

// "NO_GPU" and so on.
absl::string_view WarningWord(WarningReason reason);
std::optional<WarningReason> WarningReasonFromWord(absl::string_view word);
std::vector<WarningReason> AllWarningReasons();

// For tests: "NO_GPU: text".
std::ostream& operator<<(std::ostream& out, const Warning& warning);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_WARNING_H_
