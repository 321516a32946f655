#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_WAIT_UNTIL_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_WAIT_UNTIL_H_

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"

namespace weightd::testing {

// How long a test waits for what has to come: far longer than it takes, since it costs time only
// when the test fails.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

// Whether `condition` holds by the deadline; asks about 200 times a second. For what gives nothing
// to wait on: files, other processes' state. Thread-safe.
bool WaitUntil(absl::FunctionRef<bool()> condition, absl::Duration timeout = kPatience);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_WAIT_UNTIL_H_
