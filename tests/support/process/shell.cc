#include "tests/support/process/shell.h"

namespace weightd::testing {

ChildOptions InShell(const std::string& script, const std::vector<std::string>& command,
                     int passed_fd) {
  ChildOptions options;
  options.argv = {"/bin/sh", "-c", script, "sh"};
  options.argv.insert(options.argv.end(), command.begin(), command.end());
  options.passed_fd = passed_fd;
  return options;
}

CommandResult RunInShell(const std::string& script, const std::vector<std::string>& command,
                         int passed_fd) {
  ChildProcess child(InShell(script, command, passed_fd));
  child.CloseInput();
  const std::optional<int> status = child.WaitForExit();
  return {.exit_code = status.value_or(ChildProcess::kNotStarted),
          .out = child.out(),
          .err = child.err()};
}

}  // namespace weightd::testing
