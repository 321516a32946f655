#ifndef WEIGHTD_CLIENT_CLI_STAGE_REPORT_H_
#define WEIGHTD_CLIENT_CLI_STAGE_REPORT_H_

#include <string>

#include "weightd/v1/weight_cache.pb.h"

// How a stage went, in words. Thread-safe: pure functions.

namespace weightd::cli {

// "536.9 MB direct, 12.0 MB out of the page cache".
std::string ModesText(const v1::StageReport& report);

// What the bytes were compared with: "FULL, hashes of tensors: 6, SHA-256s of files: 2,
// d.digests.json". Empty where nothing was read.
std::string VerifyText(const v1::StageReport& report);

// "plan 12 ms, read 1.2 s, copy 3 ms, publish 1 ms".
std::string PhasesText(const v1::StageReport& report);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_STAGE_REPORT_H_
