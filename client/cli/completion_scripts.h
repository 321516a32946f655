#ifndef WEIGHTD_CLIENT_CLI_COMPLETION_SCRIPTS_H_
#define WEIGHTD_CLIENT_CLI_COMPLETION_SCRIPTS_H_

#include "absl/strings/string_view.h"

namespace weightd::cli {

// The script that makes `shell` ask weightctl what comes next; empty for a shell that is not bash,
// zsh or fish. Thread-safe.
absl::string_view CompletionScript(absl::string_view shell);

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_COMPLETION_SCRIPTS_H_
