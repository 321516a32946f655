#ifndef WEIGHTD_COMMON_THREAD_LIMITS_H_
#define WEIGHTD_COMMON_THREAD_LIMITS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// How many threads the system gives this process. Thread-safe.

namespace weightd {

// The limits that hold and how to raise them, for messages: "raise the limit of processes (ulimit
// -u is 32, pids.max is 100)".
std::string HowToRaiseThreadLimits();

// For libraries that end the process when they get no thread: whether `wanted` more can be had
// now. It starts so many, and ends them again. RESOURCE_EXHAUSTED with how many there were; `what`
// is who needs them.
absl::Status CheckThreadsToSpare(int wanted, absl::string_view what);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_THREAD_LIMITS_H_
