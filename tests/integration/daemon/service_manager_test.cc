// The daemon under a service manager that speaks systemd's protocol: sd_notify(3),
// sd_listen_fds(3), sd_watchdog_enabled(3).

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/socket_paths.h"
#include "common/unix_socket.h"
#include "gmock/gmock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/notify_socket.h"
#include "tests/support/process/programs.h"

namespace weightd::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Optional;
using ::testing::StartsWith;

class ServiceManagerTest : public DaemonTest {
 protected:
  void StartNotifying(const std::vector<std::string>& environment = {},
                      const std::vector<std::string>& flags = {}) {
    MakeModel("model", 4 << 20);
    std::vector<std::string> all = {absl::StrCat("NOTIFY_SOCKET=", notify_.path())};
    all.insert(all.end(), environment.begin(), environment.end());
    Start(flags, all);
  }

  const NotifySocket notify_{dir_.File("notify")};
};

TEST_F(ServiceManagerTest, SaysReadyOnceItServesAndStoppingWhenItDrains) {
  StartNotifying({}, {"--drain-grace-ms", "7000"});
  EXPECT_THAT(notify_.Next(), Optional(AllOf(StartsWith("READY=1"), HasSubstr("STATUS=serving"))));
  EXPECT_EQ(ctl_.Run({"health"}).exit_code, kExitOk);
  StopCleanly();
  EXPECT_THAT(notify_.Next(),
              Optional(AllOf(StartsWith("STOPPING=1"), HasSubstr("EXTEND_TIMEOUT_USEC=12000000"))));
}

TEST_F(ServiceManagerTest, ReloadIsBracketedAndItsRefusalIsInTheStatus) {
  StartNotifying();
  ASSERT_TRUE(notify_.NextWith("READY=1").has_value());
  daemon_->Signal(SIGHUP);
  EXPECT_THAT(notify_.Next(), Optional(StartsWith("RELOADING=1\nMONOTONIC_USEC=")));
  EXPECT_THAT(notify_.Next(), Optional(StartsWith("READY=1")));
}

TEST_F(ServiceManagerTest, WatchdogIsFedWhileItWorksAndNotWhenItIsStopped) {
  StartNotifying({"WATCHDOG_USEC=300000"});
  Stage("model");
  EXPECT_THAT(notify_.NextWith("WATCHDOG=1"), Optional(HasSubstr("STATUS=serving")));
  EXPECT_THAT(notify_.NextWith(" MB of weights"), Optional(HasSubstr("WATCHDOG=1")));
  const auto holder = Attach("model");
  EXPECT_TRUE(notify_.NextWith("1 leases").has_value());
  daemon_->Signal(SIGSTOP);
  while (notify_.Next(absl::ZeroDuration()).has_value()) {
  }
  EXPECT_FALSE(notify_.Next(absl::Milliseconds(500)).has_value());
  daemon_->Signal(SIGCONT);
  EXPECT_TRUE(notify_.NextWith("WATCHDOG=1").has_value());
}

TEST_F(ServiceManagerTest, WatchdogIsFedWhileItDrains) {
  StartNotifying({"WATCHDOG_USEC=300000"}, {"--drain-grace-ms", "600000"});
  Stage("model");
  const auto holder = Attach("model");
  ASSERT_THAT(holder->Attached(), HasSubstr("attached"));
  daemon_->Signal(SIGTERM);
  EXPECT_TRUE(notify_.NextWith("STOPPING=1").has_value());
  EXPECT_TRUE(notify_.NextWith("WATCHDOG=1").has_value());
  EXPECT_EQ(holder->Leave(), std::optional(0));
}

// Clients connect before the daemon is there, and are answered when it is.
TEST_F(ServiceManagerTest, ServesOnTheSocketThatItWasPassed) {
  MakeModel("model", 1 << 20);
  ASSERT_EQ(::mkdir(socket_dir_.c_str(), 0750), 0);
  ASSERT_OK_AND_ASSIGN(const UniqueFd listener,
                       BindUnixSocket(RpcSocketPath(socket_dir_), SOCK_STREAM));
  ASSERT_EQ(::listen(listener.get(), 16), 0);
  const std::unique_ptr<ChildProcess> early = ctl_.Start({"ls"});
  // LISTEN_PID is who gets the descriptors: the shell, and then the daemon in its place.
  ChildProcess daemon({.argv = {"/bin/sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh", DaemonProgram(),
                                "--socket-dir", socket_dir_, "--root", root_, "--state-file", ""},
                       .environment = {"LISTEN_FDS=1"},
                       .passed_fd = listener.get()});
  ASSERT_TRUE(daemon.WaitForOutput("serving")) << daemon.err();
  EXPECT_EQ(early->WaitForExit(), std::optional(0)) << early->err();
  EXPECT_THAT(early->out(), HasSubstr("model"));
  EXPECT_EQ(ctl_.Run({"stage", "model", "--wait"}).exit_code, kExitOk);
  EXPECT_EQ(ctl_.Run({"status"}).exit_code, kExitOk);
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.WaitForExit(), std::optional(0));
  struct stat info {};
  EXPECT_EQ(::stat(RpcSocketPath(socket_dir_).c_str(), &info), 0) << "it is the manager's";
  EXPECT_NE(::stat(HandleSocketPath(socket_dir_).c_str(), &info), 0) << "it was the daemon's";
}

TEST_F(ServiceManagerTest, RefusesASocketOfAnotherDirectory) {
  ASSERT_OK_AND_ASSIGN(const UniqueFd listener,
                       BindUnixSocket(dir_.File("elsewhere.sock"), SOCK_STREAM));
  ASSERT_EQ(::listen(listener.get(), 16), 0);
  ChildProcess daemon({.argv = {"/bin/sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh", DaemonProgram(),
                                "--socket-dir", socket_dir_, "--root", root_},
                       .environment = {"LISTEN_FDS=1"},
                       .passed_fd = listener.get()});
  EXPECT_EQ(daemon.WaitForExit(), std::optional(1));
  EXPECT_THAT(daemon.err(), AllOf(HasSubstr("elsewhere.sock"), HasSubstr("weightd.sock")));
}

}  // namespace
}  // namespace weightd::testing
