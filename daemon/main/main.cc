#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/bounded_call.h"
#include "common/command_line.h"
#include "common/leave_process.h"
#include "common/standard_streams.h"
#include "common/volume_call.h"
#include "daemon/config/config_flags.h"
#include "daemon/config/configuration.h"
#include "daemon/main/address_space.h"
#include "daemon/main/library_logs.h"
#include "daemon/main/lock_order.h"
#include "daemon/main/man_page.h"
#include "daemon/main/run.h"
#include "daemon/main/version.h"

namespace weightd {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

// How long a start waits for its configuration, and when it says so.
constexpr absl::Duration kLoadTimeout = absl::Seconds(10);
constexpr absl::Duration kLoadNotice = absl::Seconds(1);

constexpr const char* kFooter =
    "SIGHUP reads the configuration again, for the settings that say so.\n"
    "Exit codes: 0 after SIGTERM or SIGINT (a second one ends it at once with 1; so does the "
    "daemon "
    "itself, when it hangs for seconds after drain_grace_ms), 1 error, 2 usage or configuration.";

std::string Footer() {
  return absl::StrCat("Examples:\n  ", absl::StrReplaceAll(kWeightdExamples, {{"\n", "\n  "}}),
                      "\n\n", kFooter);
}

int Fail(int code, const absl::Status& status) {
  std::fprintf(stderr, "weightd: %s\n", std::string(status.message()).c_str());
  return code;
}

absl::StatusOr<Configuration> LoadInTime(const std::string& path, const Reloader::Load& load) {
  if (path.empty()) return load();  // flags only
  const auto tell = [&path] {
    std::fprintf(stderr, "weightd: configuration %s: not read yet, its volume does not answer\n",
                 path.c_str());
  };
  return CallWithin<Configuration>(kLoadTimeout, absl::StrCat("read configuration ", path), load,
                                   {.after = kLoadNotice, .tell = tell});
}

// What may be otherwise the next time is no fault of the configuration.
int LoadExit(const absl::Status& status) {
  const bool may_pass = absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status);
  return may_pass ? kExitError : kExitUsage;
}

// To stdout, all of it or with an error.
int Print(const std::string& text) {
  const absl::Status written = WriteToStdout(text);
  return written.ok() ? kExitOk : Fail(kExitError, written);
}

int Main(int argc, char** argv) {
  const absl::Status opened = OpenClosedStandardStreams();
  if (!opened.ok()) return Fail(kExitError, opened);
  PrepareForLittleAddressSpace();
  ::signal(SIGPIPE, SIG_IGN);  // a reader that left is an error of write(2)
  CLI::App app("weightd keeps model weights in memory for the inference servers of a node.",
               "weightd");
  app.footer(Footer());
  app.set_version_flag("--version", std::string("weightd ") + kVersion);
  std::string config_path;
  app.add_option("--config", config_path, kConfigHelp)->type_name("FILE");
  bool check_config = false;
  app.add_flag("--check-config", check_config, kCheckConfigHelp);
  bool man = false;
  app.add_flag("--man", man)->group("");  // for the build
  // Shared: a reload that hangs is given up, and may outlive everything else.
  const auto flags = std::make_shared<ConfigFlags>();
  flags->AddTo(app);
  try {
    app.parse(ReversedArguments(argc, argv));
  } catch (const CLI::ParseError& error) {  // CLI11 reports by exceptions; they end here
    std::ostringstream out;
    const bool asked = app.exit(error, out, std::cerr) == 0;
    return asked ? Print(out.str()) : kExitUsage;
  }
  if (man) return Print(WeightdManPage());
  const auto load = [config_path, flags] { return LoadConfiguration(config_path, *flags); };
  const absl::StatusOr<Configuration> configuration = LoadInTime(config_path, load);
  if (!configuration.ok()) return Fail(LoadExit(configuration.status()), configuration.status());
  if (check_config) return Print("weightd: the configuration is right\n");

  CheckLockOrder();
  ServiceManager service_manager = ServiceManager::FromEnvironment();
  const absl::StatusOr<std::unique_ptr<Signals>> signals = Signals::Start();
  if (!signals.ok()) return Fail(kExitError, signals.status());
  SystemClock clock;
  const absl::StatusOr<std::unique_ptr<Logger>> started =
      Logger::Start(configuration->options.log_format, configuration->options.log_level, clock);
  if (!started.ok()) return Fail(kExitError, started.status());
  Logger& logger = **started;
  const LibraryLogs library_logs(logger);
  const absl::Status status = Run(
      *configuration, load,
      {.clock = clock, .logger = logger, .signals = **signals, .service_manager = service_manager});
  if (!status.ok()) {
    if (configuration->options.log_format == LogFormat::kJson) {
      logger.Log(LogLevel::kError, "not_started", {{"detail", std::string(status.message())}});
    } else {
      logger.WritePlain(absl::StrCat("weightd: ", status.message()));
    }
    return kExitError;
  }
  logger.Log(LogLevel::kInfo, "stopped");
  return kExitOk;
}

}  // namespace
}  // namespace weightd

int main(int argc, char** argv) {
  const int status = weightd::Main(argc, argv);
  // A file of the daemon's own hangs: nothing more can be done about it.
  if (weightd::VolumeCallsRunning() > 0) weightd::LeaveProcess(status);
  return status;
}
