#ifndef WEIGHTD_DAEMON_MAIN_PROCESS_LIMITS_H_
#define WEIGHTD_DAEMON_MAIN_PROCESS_LIMITS_H_

#include <cstdint>

#include "absl/status/status.h"

// The limits of this process (setrlimit(2)) under which the daemon can serve.

namespace weightd {

// With fewer descriptors a few clients would keep everybody out: a half is for connections, which
// take up to four each (UidLimits), so that it is 32 of these; a quarter is for checkpoint files
// (DescriptorBudget), and weightd itself has about 30 when it is idle with one root.
inline constexpr uint64_t kDescriptorsMin = 256;

// How many copies of models may be in host memory: each is a descriptor, and of what the process
// may have now a sixteenth is for them.
uint64_t HostCopiesMax();

// Every connection is a descriptor: takes what the hard limit gives. RESOURCE_EXHAUSTED where that
// is less than kDescriptorsMin.
absl::Status RaiseDescriptorLimit();

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_PROCESS_LIMITS_H_
