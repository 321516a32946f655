#ifndef WEIGHTD_TESTS_CONTRACT_DEVICE_PEER_PROCESS_H_
#define WEIGHTD_TESTS_CONTRACT_DEVICE_PEER_PROCESS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/support/process/child_process.h"

namespace weightd::testing {

// weightd_device_peer (device_peer_main.cc), started as a process of its own; ends as ChildProcess
// does.
class PeerProcess {
 public:
  // `environment` is set on top of ours ("NAME=value"); `fd`, if not -1, is descriptor 3 there.
  explicit PeerProcess(const std::vector<std::string>& arguments,
                       const std::vector<std::string>& environment = {}, int fd = -1);

  // The next line that it prints; empty at the end.
  std::string ReadLine() { return child_.NextLine().value_or(""); }
  // Closes its input, waits for its end, and gives all that it printed.
  std::string Finish();
  // As ChildProcess::WaitForExit, after Finish().
  std::optional<int> exit_status() { return child_.WaitForExit(); }
  // Kills it as the OOM killer would, and reaps it.
  void Kill() { child_.Kill(); }

 private:
  ChildProcess child_;
};

// The value of the line "name=value" in what a peer printed; "(none)" without one.
std::string ValueOf(absl::string_view output, absl::string_view name);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_CONTRACT_DEVICE_PEER_PROCESS_H_
