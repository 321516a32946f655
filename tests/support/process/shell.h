#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_SHELL_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_SHELL_H_

#include <string>
#include <vector>

#include "tests/support/process/child_process.h"
#include "tests/support/process/weightctl.h"

namespace weightd::testing {

// Options for `command` with the redirections and limits of `script`, which runs it as "$@":
// `ulimit -f 0; exec "$@" >&-`. `passed_fd` is number 3 there.
ChildOptions InShell(const std::string& script, const std::vector<std::string>& command,
                     int passed_fd = -1);

// Runs that to its end. Thread-safe, as is InShell().
CommandResult RunInShell(const std::string& script, const std::vector<std::string>& command,
                         int passed_fd = -1);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_SHELL_H_
