#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_WEIGHTCTL_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_WEIGHTCTL_H_

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/process/child_process.h"

namespace weightd::testing {

// What a command left behind.
struct CommandResult {
  int exit_code = ChildProcess::kNotStarted;
  std::string out;
  std::string err;
};
// For messages of GoogleTest.
std::ostream& operator<<(std::ostream& out, const CommandResult& result);

// weightctl's exit codes.
inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotFound = 3;
inline constexpr int kExitNotReady = 4;
inline constexpr int kExitNotPermitted = 5;
inline constexpr int kExitUnreachable = 6;
inline constexpr int kExitIntegrity = 7;

// weightctl, a process per call, at one socket directory. Thread-safe.
class Weightctl {
 public:
  explicit Weightctl(std::string socket_dir) : socket_dir_(std::move(socket_dir)) {}

  using Arguments = std::vector<std::string>;
  CommandResult Run(const Arguments& arguments) const;
  // As another user, and in a PID namespace of its own if so wanted.
  CommandResult RunAs(uint32_t uid, uint32_t gid, const Arguments& arguments,
                      bool new_pid_namespace = false) const;
  // With `-o json`, which must succeed: else the test fails and the answer is null.
  nlohmann::json Json(const Arguments& arguments) const;
  // Left running.
  std::unique_ptr<ChildProcess> Start(const Arguments& arguments) const;

 private:
  ChildOptions Options(const Arguments& arguments) const;
  const std::string socket_dir_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_WEIGHTCTL_H_
