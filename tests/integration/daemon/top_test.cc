// `weightctl top` and --watch, on a terminal and without one.

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "common/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/wait_until.h"

namespace weightd::testing {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// weightctl on a terminal of 24 lines.
class Terminal {
 public:
  Terminal(std::vector<std::string> arguments, std::vector<std::string> environment) {
    // Between fork and exec nothing may take memory.
    const std::vector<char*> argv = Pointers(arguments);
    const std::vector<char*> envp = Pointers(environment);
    const winsize size = {.ws_row = 24, .ws_col = 120, .ws_xpixel = 0, .ws_ypixel = 0};
    int fd = -1;
    pid_ = ::forkpty(&fd, nullptr, nullptr, &size);
    if (pid_ == 0) {
      ::execve(argv[0], argv.data(), envp.data());
      ::_exit(ChildProcess::kNotStarted);
    }
    fd_ = UniqueFd(fd);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  // Reads until `text` was shown; false at the deadline or the end.
  bool WaitFor(const std::string& text) {
    const absl::Time deadline = absl::Now() + kPatience;
    while (!absl::StrContains(shown_, text)) {
      if (absl::Now() > deadline || !ReadSome()) return false;
    }
    return true;
  }
  void Type(const std::string& keys) { (void)!::write(fd_.get(), keys.data(), keys.size()); }
  int WaitForExit() {
    while (ReadSome()) {
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  const std::string& shown() const { return shown_; }

 private:
  static std::vector<char*> Pointers(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
  }
  bool ReadSome() {
    pollfd entry = {.fd = fd_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))) <= 0) {
      return false;
    }
    std::array<char, 4096> buffer{};
    // The last one that left the terminal is EIO.
    const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
    if (got <= 0) return false;
    shown_.append(buffer.data(), static_cast<size_t>(got));
    return true;
  }

  pid_t pid_ = -1;
  UniqueFd fd_;
  std::string shown_;
};

class TopTest : public DaemonTest {
 protected:
  std::vector<std::string> Command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all = {WeightctlProgram(), "--socket-dir", socket_dir_};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }
};

TEST_F(TopTest, OnATerminalItIsLiveAndCtrlCLeavesItAsItWas) {
  MakeModel("model", 1 << 20);
  Start();
  Stage("model");
  Terminal terminal(Command({"top", "--interval", "50ms"}), {"TERM=xterm"});
  ASSERT_TRUE(terminal.WaitFor("LEASED MODEL")) << terminal.shown();
  EXPECT_THAT(terminal.shown(), StartsWith("\x1b[?1049h"));
  EXPECT_THAT(terminal.shown(), HasSubstr("\x1b[1mDEVICE")) << "titles are bold";
  const std::unique_ptr<AttachProbe> client = Attach("model");
  EXPECT_TRUE(terminal.WaitFor("1 lease")) << "it draws what has changed";
  terminal.Type("\x03");
  EXPECT_EQ(terminal.WaitForExit(), 0);
  EXPECT_THAT(terminal.shown(), EndsWith("\x1b[?25h\x1b[?1049l"));
}

TEST_F(TopTest, NoColorMeansNone) {
  Start();
  Terminal plain(Command({"ls"}), {"TERM=xterm", "NO_COLOR=1"});
  EXPECT_EQ(plain.WaitForExit(), 0);
  EXPECT_THAT(plain.shown(), Not(HasSubstr("\x1b")));
  Terminal bold(Command({"ls"}), {"TERM=xterm"});
  EXPECT_EQ(bold.WaitForExit(), 0);
  EXPECT_THAT(bold.shown(), HasSubstr("\x1b[1mMODEL"));
  Terminal dumb(Command({"top", "--once"}), {"TERM=dumb"});
  EXPECT_EQ(dumb.WaitForExit(), 0);
  EXPECT_THAT(dumb.shown(), Not(HasSubstr("\x1b")));
}

TEST_F(TopTest, WithoutATerminalThereIsNoAnimation) {
  MakeModel("model", 1 << 20);
  Start();
  const CommandResult once = ctl_.Run({"top", "--once"});
  EXPECT_EQ(once.exit_code, kExitOk);
  EXPECT_THAT(once.out, HasSubstr("STAGED MODEL"));
  for (const char* verb : {"top", "status", "leases", "stages", "ls"}) {
    std::vector<std::string> arguments = {verb, "--interval", "20ms"};
    if (std::string(verb) != "top") arguments.push_back("--watch");
    const std::unique_ptr<ChildProcess> watching = ctl_.Start(arguments);
    // A look ends with an empty line once the next one has come.
    EXPECT_TRUE(watching->WaitForOutput("\n\n")) << verb;
    watching->Signal(SIGINT);
    EXPECT_EQ(watching->WaitForExit(), std::optional(0)) << verb << watching->err();
    EXPECT_THAT(watching->out(), Not(HasSubstr("\x1b"))) << verb;
  }
}

TEST_F(TopTest, ShowsHowAStageGoes) {
  MakeModel("model", 64 << 20);
  const HeldRead held(dir_, "model.safetensors", 32 << 20);
  Start(kPread, held.environment());
  EXPECT_EQ(ctl_.Run({"stage", "model"}).exit_code, kExitOk);
  ASSERT_TRUE(held.WaitUntilReached());
  const CommandResult top = ctl_.Run({"top", "--once"});
  EXPECT_THAT(top.out, HasSubstr("reading"));
  const nlohmann::json look = ctl_.Json({"top", "--once"});
  const nlohmann::json generation = look["models"][0]["generations"][0];
  EXPECT_EQ(generation["state"], "STAGING");
  EXPECT_EQ(generation["phase"], "READING");
  EXPECT_GT(generation["bytes_total"], 0);
  EXPECT_GT(generation["job_id"], 0);
  held.Release();
}

}  // namespace
}  // namespace weightd::testing
