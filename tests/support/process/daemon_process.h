#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_DAEMON_PROCESS_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_DAEMON_PROCESS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/support/process/child_process.h"

namespace weightd::testing {

struct DaemonSetup {
  std::string root;
  std::string socket_dir;
  std::vector<std::string> flags{};
  std::vector<std::string> environment{};
  std::string state_file{};  // none: it keeps nothing
};

// weightd as a process. Thread-compatible.
class DaemonProcess {
 public:
  explicit DaemonProcess(const DaemonSetup& setup);

  pid_t pid() const { return child_.pid(); }
  // Whether it came to serve; false when it ended first, see log() for why.
  bool WaitUntilServing() { return WaitForLog("serving"); }
  bool WaitForLog(absl::string_view text) { return child_.WaitForOutput(text); }
  std::string log() const { return child_.err(); }

  void Signal(int signal) const { child_.Signal(signal); }
  // As ChildProcess::WaitForExit().
  std::optional<int> WaitForExit(absl::Duration timeout = kPatience) {
    return child_.WaitForExit(timeout);
  }
  // SIGTERM, and the exit status: 0 after a drain.
  std::optional<int> Stop();
  // SIGKILL.
  void Kill() { child_.Kill(); }

 private:
  ChildProcess child_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_DAEMON_PROCESS_H_
