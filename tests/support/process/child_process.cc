#include "tests/support/process/child_process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace weightd::testing {
namespace {

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Pipe MakePipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Ours, without the names that `changes` sets again.
std::vector<std::string> Environment(const std::vector<std::string>& changes) {
  std::vector<std::string> result = changes;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    const std::string name = text.substr(0, text.find('=') + 1);
    bool is_changed = false;
    for (const std::string& change : changes) is_changed |= absl::StartsWith(change, name);
    if (!is_changed) result.push_back(text);
  }
  return result;
}

// What the child does between fork and exec, made before: it may call nothing but the kernel, other
// threads of ours may have held any lock. glibc's own setuid would look for its threads.
struct ChildPlan {
  int program = -1;
  // What becomes 0, 1, 2 and, if not -1, 3; all of them are above 3.
  std::array<int, 4> descriptors{};
  bool drops_root = false;
  uint32_t uid = 0;
  uint32_t gid = 0;
  char** argv = nullptr;
  char** environment = nullptr;
};

// A copy of `fd` that stands in no other's way; -1 for -1.
int DuplicateHigh(int fd) {
  constexpr int kLowest = 10;
  return fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, kLowest);
}

[[noreturn]] void Become(const ChildPlan& plan) {
  bool good = true;
  for (int i = 0; i < 4; ++i) {
    const int source = plan.descriptors[static_cast<size_t>(i)];
    if (source >= 0) good &= ::dup2(source, i) == i;
  }
  if (plan.drops_root) {
    good &= ::syscall(SYS_setgroups, 0, nullptr) == 0;
    good &= ::syscall(SYS_setresgid, plan.gid, plan.gid, plan.gid) == 0;
    good &= ::syscall(SYS_setresuid, plan.uid, plan.uid, plan.uid) == 0;
  }
  good &= ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
  // By descriptor: another user may not be able to reach the program's folder.
  if (good) ::syscall(SYS_execveat, plan.program, "", plan.argv, plan.environment, AT_EMPTY_PATH);
  ::_exit(ChildProcess::kNotStarted);
}

}  // namespace

ChildProcess::ChildProcess(const ChildOptions& options) {
  Pipe in = MakePipe();
  Pipe out = MakePipe();
  Pipe err = MakePipe();
  Run(options, in.read_end.get(), out.write_end.get(), err.write_end.get());
  input_ = std::move(in.write_end);
  output_ = std::move(out.read_end);
  errors_ = std::move(err.read_end);
  reader_ = std::thread([this] { TakeOutput(); });
}

void ChildProcess::Run(const ChildOptions& options, int in, int out, int err) {
  std::vector<std::string> argv = options.argv;
  std::vector<std::string> environment = Environment(options.environment);
  const std::vector<char*> argv_pointers = Pointers(argv);
  const std::vector<char*> environment_pointers = Pointers(environment);
  const UniqueFd program(::open(argv.front().c_str(), O_PATH | O_CLOEXEC));
  if (!program.valid()) throw std::runtime_error("open " + argv.front());
  ChildPlan plan;
  plan.program = program.get();
  const UniqueFd passed(DuplicateHigh(options.passed_fd));
  plan.descriptors = {in, out, err, passed.get()};
  plan.drops_root = options.uid.has_value();
  plan.uid = options.uid.value_or(0);
  plan.gid = options.gid;
  plan.argv = const_cast<char**>(argv_pointers.data());
  plan.environment = const_cast<char**>(environment_pointers.data());
  const int flags = SIGCHLD | (options.new_pid_namespace ? CLONE_NEWPID : 0);
  const auto pid = ::syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr);
  if (pid == 0) Become(plan);
  if (pid < 0) throw std::runtime_error(absl::StrCat("clone: errno ", errno));
  pid_ = static_cast<pid_t>(pid);
  pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
}

ChildProcess::~ChildProcess() {
  Kill();
  reader_.join();
}

void ChildProcess::WriteLine(absl::string_view line) {
  std::string text = absl::StrCat(line, "\n");
  absl::string_view left = text;
  while (!left.empty()) {
    const ssize_t written = ::write(input_.get(), left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return;  // it has ended: whoever waits for its answer sees that
    left.remove_prefix(static_cast<size_t>(written));
  }
}

void ChildProcess::TakeOutput() {
  std::array<pollfd, 2> sources = {pollfd{output_.get(), POLLIN, 0},
                                   pollfd{errors_.get(), POLLIN, 0}};
  std::vector<char> buffer(size_t{64} * 1024);
  while (sources[0].fd >= 0 || sources[1].fd >= 0) {
    if (::poll(sources.data(), sources.size(), -1) < 0 && errno != EINTR) break;
    for (size_t i = 0; i < sources.size(); ++i) {
      if (sources[i].fd < 0 || sources[i].revents == 0) continue;
      const ssize_t got = ::read(sources[i].fd, buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        sources[i].fd = -1;
        continue;
      }
      absl::MutexLock lock(&mu_);
      (i == 0 ? out_ : err_).append(buffer.data(), static_cast<size_t>(got));
    }
  }
  absl::MutexLock lock(&mu_);
  closed_ = true;
}

std::string ChildProcess::out() const {
  absl::MutexLock lock(&mu_);
  return out_;
}

std::string ChildProcess::err() const {
  absl::MutexLock lock(&mu_);
  return err_;
}

bool ChildProcess::HasLine() const {
  return closed_ || out_.find('\n', taken_bytes_) != std::string::npos;
}

std::optional<std::string> ChildProcess::NextLine(absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  mu_.AwaitWithTimeout(absl::Condition(this, &ChildProcess::HasLine), timeout);
  const size_t end = out_.find('\n', taken_bytes_);
  if (end == std::string::npos) return std::nullopt;
  std::string line = out_.substr(taken_bytes_, end - taken_bytes_);
  taken_bytes_ = end + 1;
  return line;
}

bool ChildProcess::WaitForOutput(absl::string_view text, absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  const auto contains = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return absl::StrContains(out_, text) || absl::StrContains(err_, text);
  };
  const auto known = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return closed_ || contains(); };
  mu_.AwaitWithTimeout(absl::Condition(&known), timeout);
  return contains();
}

void ChildProcess::Signal(int signal) const {
  if (!exit_status_.has_value()) ::kill(pid_, signal);
}

std::optional<int> ChildProcess::WaitForExit(absl::Duration timeout) {
  if (exit_status_.has_value()) return exit_status_;
  pollfd ended{pidfd_.get(), POLLIN, 0};
  if (::poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <= 0) {
    return std::nullopt;
  }
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) return std::nullopt;
  exit_status_ = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  absl::MutexLock lock(&mu_);
  mu_.AwaitWithTimeout(absl::Condition(&closed_), kPatience);
  return exit_status_;
}

int ChildProcess::Kill() {
  Signal(SIGKILL);
  return WaitForExit().value_or(kNotStarted);
}

}  // namespace weightd::testing
