#ifndef WEIGHTD_DAEMON_SERVICE_REQUEST_NAMES_H_
#define WEIGHTD_DAEMON_SERVICE_REQUEST_NAMES_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "weightd/v1/weight_cache.pb.h"

// Names in requests: what is longer than such a name may be is refused before anything keeps it,
// logs it or quotes it. Pure functions, thread-safe.

namespace weightd {

inline constexpr size_t kDeviceBytesMax = 64;  // "GPU-" and a UUID have 40
inline constexpr size_t kClientNameBytesMax = 64;
inline constexpr int kDevicesMax = 64;

// INVALID_ARGUMENT/INVALID_REQUEST with the field, what it has and what is allowed. An empty name
// passes: whether one is wanted is the call's matter.
absl::Status CheckNames(const std::string& model, const std::string& device = "");
absl::Status CheckNames(const v1::AttachRequest& request);
absl::Status CheckNames(const v1::StageModelRequest& request);

// For what tells of a request that was refused: no longer than a name may be.
std::string Shortened(const std::string& name);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_REQUEST_NAMES_H_
