#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_CHILD_PROCESS_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_CHILD_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {

struct ChildOptions {
  std::vector<std::string> argv;  // argv[0] is the program's path
  // "NAME=value", on top of our own environment.
  std::vector<std::string> environment{};
  // Run as this user with this group alone; for tests that run as root.
  std::optional<uint32_t> uid{};
  uint32_t gid = 0;  // only with uid
  // A descriptor of ours that is number 3 there; -1: none.
  int passed_fd = -1;
  // As the first process of a PID namespace of its own; for tests that run as root.
  bool new_pid_namespace = false;
};

// A program as a child of this process, with all it writes. It is killed and reaped on
// destruction, and by the kernel if the thread that made it ends first.
//
// Thread-compatible; a thread of its own takes the output, so that the child never waits for us.
class ChildProcess {
 public:
  // Throws std::runtime_error when no process can be made; a program that cannot be started exits
  // with kNotStarted.
  static constexpr int kNotStarted = 127;
  explicit ChildProcess(const ChildOptions& options);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();

  pid_t pid() const { return pid_; }

  // To its stdin.
  void WriteLine(absl::string_view line);
  void CloseInput() { input_.reset(); }

  // All it has written so far.
  std::string out() const;
  std::string err() const;
  // The next line of stdout that was not taken yet; none when it ended or the time is over.
  std::optional<std::string> NextLine(absl::Duration timeout = kPatience);
  // Whether stdout or stderr contain `text` before it ends and by the deadline.
  bool WaitForOutput(absl::string_view text, absl::Duration timeout = kPatience);

  void Signal(int signal) const;
  // The exit status, minus the signal for a child that died of one, or none if it still runs. Once
  // it has ended, all its output is here.
  std::optional<int> WaitForExit(absl::Duration timeout = kPatience);
  // SIGKILL, and WaitForExit().
  int Kill();

 private:
  void Run(const ChildOptions& options, int in, int out, int err);
  void TakeOutput();
  bool HasLine() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  std::optional<int> exit_status_;
  UniqueFd input_;
  UniqueFd output_;
  UniqueFd errors_;

  mutable absl::Mutex mu_;
  std::string out_ ABSL_GUARDED_BY(mu_);
  std::string err_ ABSL_GUARDED_BY(mu_);
  size_t taken_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of out_, by NextLine()
  bool closed_ ABSL_GUARDED_BY(mu_) = false;     // no more will come

  std::thread reader_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_CHILD_PROCESS_H_
