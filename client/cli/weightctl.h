#ifndef WEIGHTD_CLIENT_CLI_WEIGHTCTL_H_
#define WEIGHTD_CLIENT_CLI_WEIGHTCTL_H_

#include "client/cli/invocation.h"

namespace weightd::cli {

// Runs one command line and returns the exit code (exit_codes.h). Thread-compatible.
int RunWeightctl(int argc, const char* const* argv, Io& io);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_WEIGHTCTL_H_
