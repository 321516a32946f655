#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_ATTACH_PROBE_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_ATTACH_PROBE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/support/process/child_process.h"

namespace weightd::testing {

struct ProbeOptions {
  std::string socket_dir;
  std::string model;
  // What Compare() compares with; read by the probe's own code.
  std::vector<std::string> files{};
  std::string device{};
  std::vector<std::string> environment{};
  std::optional<uint32_t> uid{};
  uint32_t gid = 0;  // only with uid
  bool new_pid_namespace = false;
};

// Another process that attaches to a model through the C++ library (attach_probe_main.cc) and holds
// the lease until it is told to leave, or killed. Thread-compatible.
class AttachProbe {
 public:
  explicit AttachProbe(const ProbeOptions& options);

  pid_t pid() const { return child_.pid(); }
  // Waits for the attach: "attached lease=1 generation=1 device=host tensors=2 bytes=10", or
  // "refused CODE/REASON: message". Always the same line.
  const std::string& Attached();
  bool is_attached();
  // "same tensors=2 bytes=10" when names, dtypes, shapes and every byte are those of the files;
  // else what differs, the first difference.
  std::string Compare();
  // Whether the lease is held, as Mapping::lease_held() says.
  bool LeaseHeld();
  // Notices come as lines: "notice superseded generation=2", "notice draining", "notice lost ...".
  bool WaitForNotice(absl::string_view text) { return child_.WaitForOutput(text); }
  // Lets the mapping go; the exit status, 0 unless something went wrong.
  std::optional<int> Leave();
  void Kill() { child_.Kill(); }
  // For a failed test's message.
  std::string output() const { return child_.out() + child_.err(); }

 private:
  std::string Ask(absl::string_view command);
  ChildProcess child_;
  std::string attached_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_ATTACH_PROBE_H_
