#include "tests/contract/device/peer_process.h"

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace weightd::testing {
namespace {

ChildOptions Options(const std::vector<std::string>& arguments,
                     const std::vector<std::string>& environment, int fd) {
  ChildOptions options{.argv = {WEIGHTD_DEVICE_PEER}};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.environment = environment;
  options.passed_fd = fd;
  return options;
}

}  // namespace

PeerProcess::PeerProcess(const std::vector<std::string>& arguments,
                         const std::vector<std::string>& environment, int fd)
    : child_(Options(arguments, environment, fd)) {}

std::string PeerProcess::Finish() {
  child_.CloseInput();
  child_.WaitForExit();
  return child_.out() + child_.err();
}

std::string ValueOf(absl::string_view output, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(output, '\n')) {
    if (absl::ConsumePrefix(&line, name) && absl::ConsumePrefix(&line, "=")) {
      return std::string(line);
    }
  }
  return "(none)";
}

}  // namespace weightd::testing
