#ifndef WEIGHTD_CLIENT_CPP_REQUEST_TEXT_H_
#define WEIGHTD_CLIENT_CPP_REQUEST_TEXT_H_

#include <google/protobuf/message.h>

#include "absl/status/status.h"

namespace weightd::client {

// Whether all texts of `request` are UTF-8, as protobuf wants them: INVALID_ARGUMENT with the
// reason kInvalidRequest names the first that is not. It is to be asked before the request is sent:
// a daemon could only say that it cannot parse it. Thread-safe.
absl::Status CheckTexts(const google::protobuf::Message& request);

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_REQUEST_TEXT_H_
