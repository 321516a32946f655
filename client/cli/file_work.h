#ifndef WEIGHTD_CLIENT_CLI_FILE_WORK_H_
#define WEIGHTD_CLIENT_CLI_FILE_WORK_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "client/cli/invocation.h"
#include "convert/convert.h"

namespace weightd::cli {

// Runs `work`, which asks volumes that may never answer, on a thread of its own, with hooks of
// ConvertOptions by which its progress is shown under `label`. When nothing comes of a step for
// some seconds, a line on stderr says which. SIGINT and SIGTERM end the process at once, with 128
// and the signal's number, whatever hangs.
//
// DEADLINE_EXCEEDED with the step when a --timeout that was given is over: the work is left
// behind, so it must own all that it uses. Once in a process.
absl::Status RunFileWork(Invocation& invocation, const std::string& label,
                         std::function<absl::Status(const ConvertOptions& hooks)> work);

// Whether work was left behind: then the process must end by LeaveProcess().
bool LeftFileWorkBehind();

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_FILE_WORK_H_
