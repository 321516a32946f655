#include "tests/support/process/daemon_process.h"

#include <signal.h>

#include "tests/support/process/programs.h"

namespace weightd::testing {
namespace {

ChildOptions Options(const DaemonSetup& setup) {
  ChildOptions options;
  // Pins of one test are not those of the next, and the node's own are nobody's here.
  options.argv = {DaemonProgram(), "--socket-dir", setup.socket_dir, "--state-file",
                  setup.state_file};
  if (!setup.root.empty()) {
    options.argv.push_back("--root");
    options.argv.push_back(setup.root);
  }
  options.argv.insert(options.argv.end(), setup.flags.begin(), setup.flags.end());
  options.environment = setup.environment;
  return options;
}

}  // namespace

DaemonProcess::DaemonProcess(const DaemonSetup& setup) : child_(Options(setup)) {}

std::optional<int> DaemonProcess::Stop() {
  Signal(SIGTERM);
  return WaitForExit();
}

}  // namespace weightd::testing
