#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_HTTP_GET_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_HTTP_GET_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace weightd::testing {

// A connection to 127.0.0.1:PORT.
absl::StatusOr<UniqueFd> ConnectToPort(int port);

// The body of http://127.0.0.1:PORT/PATH; an error unless the answer is 200. `path` begins with a
// slash. Thread-safe.
absl::StatusOr<std::string> HttpGet(int port, const std::string& path);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_HTTP_GET_H_
