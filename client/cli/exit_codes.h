#ifndef WEIGHTD_CLIENT_CLI_EXIT_CODES_H_
#define WEIGHTD_CLIENT_CLI_EXIT_CODES_H_

#include <string>

#include "absl/status/status.h"

// The exit codes of weightctl, and which error gets which. Scripts rely on them: never renumber.
// Thread-safe: pure functions.

namespace weightd::cli {

enum class ExitCode : int {
  kOk = 0,
  kError = 1,
  kUsage = 2,
  kNotFound = 3,
  kNotReady = 4,
  kNotPermitted = 5,
  kUnreachable = 6,
  kIntegrity = 7,
};

// By the status' reason where it has one, else by its code.
ExitCode ExitCodeOf(const absl::Status& status);

// The table for --help.
std::string ExitCodeHelp();

// What to do about an error, without a final stop; empty when nothing is known to help.
std::string HintFor(const absl::Status& status);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_EXIT_CODES_H_
