#ifndef WEIGHTD_CLIENT_CLI_PRELOADS_H_
#define WEIGHTD_CLIENT_CLI_PRELOADS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "weightd/v1/weight_cache.pb.h"

// How the models are that the daemon's `preload` setting names, in words. Pure functions.

namespace weightd::cli {

// "resident", "queued", "staging 43 %", "failed: no such checkpoint", "not in memory".
std::string PreloadText(const v1::Preload& preload);

// Each that is not resident and how it is: "a: queued; b: staging 43 %".
std::string MissingPreloads(const std::vector<v1::Preload>& preloads);

// FAILED_PRECONDITION with each that is not resident and how it is.
absl::Status CheckPreloads(const std::vector<v1::Preload>& preloads);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_PRELOADS_H_
