// Each row of deploy/README.md's symptoms table, provoked: the daemon and its clients say what the
// table says. Those that need a GPU are in cuda_symptoms_test.cc.

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cpp/daemon_connection.h"
#include "common/proc_text.h"
#include "common/unique_fd.h"
#include "daemon/main/devices.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/symptoms/symptoms_fixture.h"
#include "tests/support/common/limited_process.h"
#include "tests/support/common/read_file.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/process/programs.h"
#include "tests/support/process/shell.h"

namespace weightd::testing {
namespace {

namespace fs = std::filesystem;

// Nobody may write a row that no test provokes, nor provoke what nobody finds in the table.
TEST(SymptomTableTest, EveryRowIsProvokedByATest) {
  std::set<std::string> rows;
  for (const auto& [anchor, symptom] : SymptomTable()) {
#if !WEIGHTD_HAVE_FAKE_CUDA
    if (anchor.rfind("gpu-", 0) == 0) continue;
#endif
    rows.insert(anchor);
  }
  EXPECT_EQ(rows, RegisteredSymptoms());
}

WEIGHTD_SYMPTOM(SymptomsTest, NoSocket, "no-socket") {
  EXPECT_TRUE(ShowsSymptom("no-socket", Failure({"ls"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, NobodyListens, "nobody-listens") {
  Start();
  daemon_->Kill();
  EXPECT_TRUE(ShowsSymptom("nobody-listens", Failure({"ls"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, NotOnTheList, "not-on-the-list") {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to run clients as another user";
  fs::permissions(dir_.path(), fs::perms(0755));
  Start({"--access.attach-gid", "4242"});
  EXPECT_TRUE(ShowsSymptom("not-on-the-list", ctl_.RunAs(kNobody, kOurGroup, {"ls"}).err));
}

WEIGHTD_SYMPTOM(SymptomsTest, MayNotOperate, "may-not-operate") {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to run clients as another user";
  fs::permissions(dir_.path(), fs::perms(0755));
  MakeModel("model", 1 << 20);
  Start({"--access.attach-uid", absl::StrCat(kNobody)});
  EXPECT_TRUE(
      ShowsSymptom("may-not-operate", ctl_.RunAs(kNobody, kOurGroup, {"stage", "model"}).err));
}

WEIGHTD_SYMPTOM(SymptomsTest, SocketsInUse, "sockets-in-use") {
  Start();
  EXPECT_TRUE(ShowsSymptom("sockets-in-use", Refusal({})));
}

WEIGHTD_SYMPTOM(SymptomsTest, NoRoot, "no-root") {
  fs::remove_all(root_);
  for (const char* format : kLogFormats) {
    Start({"--log.format", format});
    EXPECT_TRUE(daemon_->WaitForLog("catalog_unreadable"));
    EXPECT_TRUE(ShowsSymptom("no-root", daemon_->log())) << format;
    EXPECT_TRUE(ShowsSymptom("no-root", StatusText()));
  }
}

WEIGHTD_SYMPTOM(SymptomsTest, BadConfiguration, "bad-configuration") {
  EXPECT_TRUE(ShowsSymptom("bad-configuration", Refusal({"--config", Config("\nbudget: 1\n")})));
}

WEIGHTD_SYMPTOM(SymptomsTest, ReloadRefused, "reload-refused") {
  for (const char* format : kLogFormats) {
    const std::string path = Config("");
    Start({"--config", path, "--log.format", format});
    Config("host { budget_bytes: 5 }");
    daemon_->Signal(SIGHUP);
    EXPECT_TRUE(daemon_->WaitForLog("reload_refused"));
    EXPECT_TRUE(ShowsSymptom("reload-refused", daemon_->log())) << format;
  }
}

WEIGHTD_SYMPTOM(SymptomsTest, MetricsPortTaken, "metrics-port-taken") {
  Start({"--metrics.address", "127.0.0.1:0"});
  const std::string port = daemon_->log().substr(daemon_->log().find("metrics_port=") + 13);
  const std::string address = absl::StrCat("127.0.0.1:", port.substr(0, port.find('\n')));
  DaemonProcess second(
      {.root = root_, .socket_dir = dir_.File("second"), .flags = {"--metrics.address", address}});
  EXPECT_NE(second.WaitForExit(), std::optional(0));
  EXPECT_TRUE(ShowsSymptom("metrics-port-taken", second.log()));
}

WEIGHTD_SYMPTOM(SymptomsTest, FewDescriptors, "few-descriptors") {
  ChildProcess daemon(InShell("ulimit -n 100; exec \"$@\"",
                              {DaemonProgram(), "--root", root_, "--socket-dir", socket_dir_}));
  EXPECT_NE(daemon.WaitForExit(), std::optional(0));
  EXPECT_TRUE(ShowsSymptom("few-descriptors", daemon.err()));
}

WEIGHTD_SYMPTOM(SymptomsTest, LittleAddressSpace, "little-address-space") {
  if (kHasShadowMemory) GTEST_SKIP() << "not with a sanitizer";
  ChildProcess daemon(InShell("ulimit -v 700000; exec \"$@\"",
                              {DaemonProgram(), "--root", root_, "--socket-dir", socket_dir_}));
  EXPECT_NE(daemon.WaitForExit(), std::optional(0));
  EXPECT_TRUE(ShowsSymptom("little-address-space", daemon.err()));
}

// A header is read at once, and there is less than it has.
WEIGHTD_SYMPTOM(SymptomsTest, OutOfMemory, "out-of-memory") {
  if (kHasShadowMemory) GTEST_SKIP() << "not with a sanitizer";
  constexpr uint64_t kHeaderBytes = uint64_t{90} << 20;
  std::string begin(sizeof(kHeaderBytes), '\0');
  std::memcpy(begin.data(), &kHeaderBytes, sizeof(kHeaderBytes));
  ASSERT_OK(WriteRawFile(InRoot("model.safetensors"), begin));
  ChildProcess daemon(InShell("ulimit -v 1048576; exec \"$@\"",
                              {DaemonProgram(), "--root", root_, "--socket-dir", socket_dir_}));
  ASSERT_TRUE(daemon.WaitForOutput("serving"));
  // It has the threads and helpers for a stage from then on: those need memory, too.
  EXPECT_NE(ctl_.Run({"stage", "model", "--wait"}).exit_code, 0);
  fs::resize_file(InRoot("model.safetensors"), begin.size() + kHeaderBytes + 1);
  const rlim_t little =
      ProcNumber(ReadFile(absl::StrCat("/proc/", daemon.pid(), "/status")), "VmSize").value();
  const rlimit limit = {.rlim_cur = little, .rlim_max = little};
  ASSERT_EQ(::prlimit(daemon.pid(), RLIMIT_AS, &limit, nullptr), 0);
  EXPECT_NE(ctl_.Run({"stage", "model", "--wait"}).exit_code, 0);
  EXPECT_NE(daemon.WaitForExit(), std::optional(0));
  EXPECT_TRUE(ShowsSymptom("out-of-memory", daemon.err()));
}

WEIGHTD_SYMPTOM(SymptomsTest, PinsLost, "pins-lost") {
  state_file_ = dir_.File("state.json");
  ASSERT_OK(WriteRawFile(state_file_, "{\"format\""));
  Start();
  EXPECT_TRUE(daemon_->WaitForLog("pins and last uses"));
  EXPECT_TRUE(ShowsSymptom("pins-lost", daemon_->log()));
}

WEIGHTD_SYMPTOM(SymptomsTest, StateNotSaved, "state-not-saved") {
  state_file_ = "/dev/full/state.json";
  MakeModel("model", 1 << 20);
  for (const char* format : kLogFormats) {
    Start({"--log.format", format});
    Stage("model");
    EXPECT_EQ(ctl_.Run({"pin", "model"}).exit_code, kExitOk);
    EXPECT_TRUE(daemon_->WaitForLog("state_not_saved"));
    EXPECT_TRUE(ShowsSymptom("state-not-saved", daemon_->log())) << format;
  }
}

WEIGHTD_SYMPTOM(SymptomsTest, PinNotKept, "pin-not-kept") {
  state_file_ = "/dev/full/state.json";
  MakeModel("model", 1 << 20);
  Start();
  Stage("model");
  const CommandResult pinned = ctl_.Run({"pin", "model"});
  EXPECT_EQ(pinned.exit_code, kExitOk);
  EXPECT_TRUE(ShowsSymptom("pin-not-kept", pinned.err));
}

WEIGHTD_SYMPTOM(SymptomsTest, StageRetry, "stage-retry") {
  MakeModel("model", 24 << 20);
  for (const char* format : kLogFormats) {
    std::vector<std::string> flags = kPread;
    flags.insert(flags.end(), {"--preload", "model", "--log.format", format});
    Start(flags, FaultPreload({"WEIGHTD_FAULT_PATH=/model.safetensors",
                               "WEIGHTD_FAULT_OFFSET=9000000-9000001"}));
    EXPECT_TRUE(daemon_->WaitForLog("stage_retry"));
    EXPECT_TRUE(ShowsSymptom("stage-retry", daemon_->log())) << format;
  }
}

WEIGHTD_SYMPTOM(SymptomsTest, NoSuchModel, "no-such-model") {
  Start();
  EXPECT_TRUE(ShowsSymptom("no-such-model", Failure({"stage", "model", "--wait"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, NotResident, "not-resident") {
  MakeModel("model", 1 << 20);
  Start();
  EXPECT_TRUE(ShowsSymptom("not-resident", Failure({"read", "model", "t"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, NoRoom, "no-room") {
  MakeModel("first", 4 << 20);
  MakeModel("second", 4 << 20);
  Start({"--host.budget-bytes", "10000000"});
  Stage("first");
  const auto holder = Attach("first");
  EXPECT_TRUE(ShowsSymptom("no-room", Failure({"stage", "second", "--wait"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, LargerThanTheBudget, "no-room") {
  MakeModel("model", 4 << 20);
  Start({"--host.budget-bytes", "1000000"});
  EXPECT_TRUE(ShowsSymptom("no-room", Failure({"stage", "model", "--wait"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, LeasedModel, "leased") {
  MakeModel("model", 1 << 20);
  Start();
  Stage("model");
  const auto holder = Attach("model");
  EXPECT_TRUE(ShowsSymptom("leased", Failure({"evict", "model"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, PinnedModel, "pinned") {
  MakeModel("model", 1 << 20);
  Start();
  Stage("model");
  EXPECT_EQ(ctl_.Run({"pin", "model"}).exit_code, kExitOk);
  EXPECT_TRUE(ShowsSymptom("pinned", Failure({"evict", "model"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, LeaseLimit, "lease-limit") {
  MakeModel("model", 1 << 20);
  Start({"--limits.leases-per-uid-max", "1"});
  Stage("model");
  const auto holder = Attach("model");
  AttachProbe second(Probe("model", {}));
  EXPECT_TRUE(ShowsSymptom("lease-limit", second.Attached()));
}

WEIGHTD_SYMPTOM(SymptomsTest, ConnectionLimit, "connection-limit") {
  Start({"--limits.connections-per-uid-max", "1"});
  const auto watcher = ctl_.Start({"ps", "--watch"});
  ASSERT_TRUE(watcher->WaitForOutput("MODEL"));
  EXPECT_TRUE(ShowsSymptom("connection-limit", Failure({"ls"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, UntrustedServer, "untrusted-server") {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to give a directory away";
  // Another user's directory, where anybody may make one, and we are that user's guest.
  fs::permissions(dir_.path(), fs::perms(01777));
  Start();
  ASSERT_EQ(::chown(socket_dir_.c_str(), kNobody, kNogroup), 0);
  EXPECT_TRUE(ShowsSymptom(
      "untrusted-server",
      std::string(client::OpenChannel(SocketDirectory(socket_dir_, true), absl::Now() + kPatience)
                      .status()
                      .message())));
}

WEIGHTD_SYMPTOM(SymptomsTest, ForeignDirectory, "foreign-directory") {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to give a directory away";
  fs::create_directory(socket_dir_);
  ASSERT_EQ(::chown(socket_dir_.c_str(), kNobody, kNogroup), 0);
  EXPECT_TRUE(ShowsSymptom("foreign-directory", Refusal({})));
}

WEIGHTD_SYMPTOM(SymptomsTest, ForcedOut, "forced-out") {
  MakeModel("model", 1 << 20);
  for (const char* format : kLogFormats) {
    Start({"--log.format", format});
    Stage("model");
    const auto holder = Attach("model");
    EXPECT_EQ(ctl_.Run({"evict", "model", "--force", "--grace", "0s"}).exit_code, kExitOk);
    EXPECT_TRUE(daemon_->WaitForLog("lease_revoked"));
    EXPECT_TRUE(ShowsSymptom("forced-out", daemon_->log())) << format;
  }
}

WEIGHTD_SYMPTOM(SymptomsTest, DrainingDaemon, "draining") {
  MakeModel("model", 1 << 20);
  MakeModel("other", 1 << 20);
  Start({"--drain-grace-ms", "600000"});
  Stage("model");
  const auto holder = Attach("model");
  daemon_->Signal(SIGTERM);
  ASSERT_TRUE(daemon_->WaitForLog("drain_started"));
  EXPECT_TRUE(ShowsSymptom("draining", Failure({"stage", "other", "--wait"})));
}

// The end does not wait for it.
WEIGHTD_SYMPTOM(SymptomsTest, VolumeThatHangsInADrain, "drain-hangs") {
  MakeModel("model", 24 << 20);
  for (const char* format : kLogFormats) {
    const TempDir control;  // of this read: what released another one lies in its own
    const HeldRead held(control, "/model.safetensors", 9'000'000);
    std::vector<std::string> flags = kPread;
    flags.insert(flags.end(), {"--log.format", format, "--drain-grace-ms", "0"});
    Start(flags, held.environment());
    const auto stage = ctl_.Start({"stage", "model", "--wait"});
    EXPECT_TRUE(held.WaitUntilReached());
    daemon_->Signal(SIGTERM);
    EXPECT_EQ(daemon_->WaitForExit(), std::optional(0));
    EXPECT_TRUE(ShowsSymptom("drain-hangs", daemon_->log())) << format;
    held.Release();
  }
}

WEIGHTD_SYMPTOM(SymptomsTest, ThreadsForIoUring, "no-io-uring") {
  ChildProcess daemon({.argv = {WithoutUringProgram(), DaemonProgram(), "--root", root_,
                                "--socket-dir", socket_dir_, "--state-file", ""}});
  ASSERT_TRUE(daemon.WaitForOutput("serving")) << daemon.err();
  EXPECT_TRUE(ShowsSymptom("no-io-uring", StatusText()));
}

WEIGHTD_SYMPTOM(SymptomsTest, NoDriver, "no-driver") {
  Start();
  EXPECT_TRUE(ShowsSymptom("no-driver", StatusText()));
}

// Its words alone: this build may have cuda.h.
WEIGHTD_SYMPTOM(SymptomsTest, BuiltWithoutCuda, "built-without-cuda") {
  const Warning warning = NoGpuWarning(absl::UnimplementedError("built without cuda.h"),
                                       /*built_with_cuda=*/false, "/dev/nvidiactl");
  EXPECT_TRUE(ShowsSymptom("built-without-cuda", warning.text));
}

WEIGHTD_SYMPTOM(SymptomsTest, DriverWanted, "driver-wanted") {
  EXPECT_TRUE(ShowsSymptom("driver-wanted", Refusal({"--cuda.enabled", "ON"})));
}

WEIGHTD_SYMPTOM(SymptomsTest, SmallPages, "small-pages") {
  Start();
  if (StatusText().find("small pages") == std::string::npos) {
    GTEST_SKIP() << "this machine gives huge pages, or nobody asked for them";
  }
  EXPECT_TRUE(ShowsSymptom("small-pages", StatusText()));
}

}  // namespace
}  // namespace weightd::testing
