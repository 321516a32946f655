#ifndef WEIGHTD_CLIENT_CPP_GRANT_CHECK_H_
#define WEIGHTD_CLIENT_CPP_GRANT_CHECK_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd::client {

// Whether a grant is of what was asked for: of the model of `name`, `name@generation` or
// `name@revision`, of that generation, and of that commit where all 40 digits of one are named
// (what a branch or a part of a commit means only the daemon knows); and whether it announces no
// more tensors than any daemon can be set to take. INTERNAL with what is wrong. Thread-safe.
absl::Status CheckGranted(absl::string_view asked, const v1::Granted& granted);

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_GRANT_CHECK_H_
