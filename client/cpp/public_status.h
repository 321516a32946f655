#ifndef WEIGHTD_CLIENT_CPP_PUBLIC_STATUS_H_
#define WEIGHTD_CLIENT_CPP_PUBLIC_STATUS_H_

#include <weightd/status.h>

#include "absl/status/status.h"

namespace weightd::client {

// Between our Status and the one of the public headers; code, reason and message stay, metadata
// does not. Thread-safe.
Status ToPublicStatus(const absl::Status& status);
absl::Status FromPublicStatus(const Status& status);

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_PUBLIC_STATUS_H_
