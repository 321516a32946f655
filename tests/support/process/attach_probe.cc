#include "tests/support/process/attach_probe.h"

#include "absl/strings/match.h"
#include "tests/support/process/programs.h"

namespace weightd::testing {
namespace {

ChildOptions Options(const ProbeOptions& probe) {
  ChildOptions options;
  options.argv = {AttachProbeProgram(), probe.socket_dir, probe.model, probe.device};
  options.argv.insert(options.argv.end(), probe.files.begin(), probe.files.end());
  options.environment = probe.environment;
  options.uid = probe.uid;
  options.gid = probe.gid;
  options.new_pid_namespace = probe.new_pid_namespace;
  return options;
}

}  // namespace

AttachProbe::AttachProbe(const ProbeOptions& options) : child_(Options(options)) {}

const std::string& AttachProbe::Attached() {
  if (attached_.empty()) attached_ = child_.NextLine().value_or("no answer: " + output());
  return attached_;
}

bool AttachProbe::is_attached() { return absl::StartsWith(Attached(), "attached "); }

std::string AttachProbe::Ask(absl::string_view command) {
  Attached();
  child_.WriteLine(command);
  return child_.NextLine().value_or("no answer: " + output());
}

std::string AttachProbe::Compare() { return Ask("compare"); }

bool AttachProbe::LeaseHeld() { return Ask("held") == "held"; }

std::optional<int> AttachProbe::Leave() {
  child_.CloseInput();
  return child_.WaitForExit();
}

}  // namespace weightd::testing
