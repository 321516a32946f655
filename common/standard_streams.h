#ifndef WEIGHTD_COMMON_STANDARD_STREAMS_H_
#define WEIGHTD_COMMON_STANDARD_STREAMS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// Descriptors 0, 1 and 2 of our programs.

namespace weightd {

// Opens those that are closed, for reading alone: what is opened later never becomes one of them,
// and a write there fails. To be called before anything else is opened, by the only thread. An
// error is that of open(2): where there is no /dev/null, nor a root directory to read.
absl::Status OpenClosedStandardStreams();

// The error of a write to stdout: "write to stdout: <text of errno>". Its code is UNKNOWN, whatever
// errno is: it is neither the daemon's nor a checkpoint's. Thread-safe.
absl::Status StdoutError(int error);

// Writes all of `text` to stdout, through stdio. Thread-safe.
absl::Status WriteToStdout(absl::string_view text);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_STANDARD_STREAMS_H_
